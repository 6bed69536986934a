"""Selecting dead letters: the conditions that the command line, a replay and the console accept."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.json_text import JsonText, json_text_of

_AGO = re.compile(r"([0-9]+)\s*([smhdw])")
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""Kafka's timestamps begin with the first; arithmetic must not leave Python's range."""
_NOWHERE = (ValueError, LookupError, TypeError, RecursionError)
"""What a value that is no JSON, and a path that leads nowhere, raise."""
_DECODER = json.JSONDecoder(parse_int=JsonText, parse_float=JsonText)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class SelectorError(ValueError):
    """A malformed selector; the message gives the right form."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Conditions that all must be true; several values of one condition are alternatives. Empty selects everything.

    ``since`` and ``until`` are in UTC and mean the time of failure. ``where`` are (JSON path, text) pairs.
    """

    ids: tuple[str, ...] = ()
    event_ids: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    sqlstates: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    consumer_groups: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    partitions: tuple[int, ...] = ()
    from_offset: int | None = None
    where: tuple[tuple[str, str], ...] = ()

    def matches(self, dead_letter: DeadLetterRecord) -> bool:
        """Whether every condition is true. Cheap conditions first; the payload is parsed only for ``where``."""
        return (
            (not self.partitions or dead_letter.record.partition in self.partitions)
            and (self.from_offset is None or dead_letter.record.offset >= self.from_offset)
            and (not self.ids or dead_letter.id in self.ids or dead_letter.record_id in self.ids)
            and (not self.event_ids or dead_letter.event_id in self.event_ids)
            and (not self.keys or (dead_letter.record.key or b"").decode(errors="replace") in self.keys)
            and (not self.steps or dead_letter.step in self.steps)
            and (not self.reasons or dead_letter.reason in self.reasons)
            and (not self.verdicts or dead_letter.verdict in self.verdicts)
            and (not self.sqlstates or dead_letter.sqlstate in self.sqlstates)
            and (not self.origins or dead_letter.origin_topic in self.origins)
            and (not self.consumer_groups or dead_letter.consumer_group in self.consumer_groups)
            and (self.since is None or dead_letter.failed_at >= self.since)
            and (self.until is None or dead_letter.failed_at < self.until)
            and all(_holds(dead_letter.record.value, path, text) for path, text in self.where)
        )

    def as_json(self) -> str:
        """Return it as JSON, without empty conditions."""
        given = {name: value for name, value in asdict(self).items() if value not in ((), None)}
        return json.dumps(given, default=str)


def selection_from(written: dict[str, Any]) -> Selection:
    """Parse what `Selection.as_json` wrote."""
    from pydantic import TypeAdapter  # noqa: PLC0415 - half a second that `--help` does not need

    return TypeAdapter(Selection).validate_python(written)


def parse_time(text: str, now: datetime | None = None) -> datetime:
    """Read ``2h``, ``30m``, ``7d`` (that long ago) or RFC 3339. Raises SelectorError."""
    try:
        if ago := _AGO.fullmatch(text.strip()):
            moment = (now or datetime.now(UTC)) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            parsed = datetime.fromisoformat(text.strip())
            moment = parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise SelectorError(f"{text!r} is neither an age like 2h nor a time like 2026-11-24T10:00:00Z") from None
    if not _EARLIEST <= moment < _LATEST:
        raise SelectorError(f"{text!r} is not between {_EARLIEST.year} and {_LATEST.year}")
    return moment


def parse_condition(text: str) -> tuple[str, str]:
    """Read ``payload.order.id=4711``. Raises SelectorError."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise SelectorError(f"{text!r} is not json.path=value, like payload.order_id=4711")
    return path, value


def json_path(value: bytes | None, path: str) -> str | None:
    """Return the value at a dotted path (list items by number) as text: strings plain, others as JSON."""
    try:
        found = _at(value, path)
        return found if isinstance(found, str) else json_text_of(found)
    except _NOWHERE:
        return None


def _at(value: bytes | None, path: str) -> Any:  # noqa: ANN401
    value = value or b""
    found: Any = _DECODER.decode(value.decode(json.detect_encoding(value), "surrogatepass"))
    for part in path.split("."):
        found = found[int(part)] if isinstance(found, list) else found[part]
    return found


def _holds(value: bytes | None, path: str, text: str) -> bool:
    """Whether the value at a path is this string, or equal to this JSON."""
    try:
        found = _at(value, path)
        if isinstance(found, str) and not isinstance(found, JsonText):
            return found == text
        return _is_same(found, _parsed(text))
    except _NOWHERE:
        return False


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:  # noqa: ANN401
    return _DECODER.decode(text)


def _is_same(one: Any, other: Any) -> bool:  # noqa: ANN401
    """Compare JSON: numbers by their exact value, which floats round, and never with true or false."""
    if type(one) is not type(other):
        return False
    if isinstance(one, JsonText):
        return one == other or _decimal(one) == _decimal(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return bool(one == other)


def _decimal(number: str) -> Decimal | str:
    try:
        return Decimal(number)
    except InvalidOperation:  # an exponent that Decimal does not hold
        return number
