"""Timestamps of other shapes as RFC 3339: without a zone, or numbers since 1970. Exact, nothing is rounded."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from keepstream.processors.validation.rejection import likely_unit, not_text

Format = Literal["rfc3339", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns"]
Read = Callable[[object], str]
"""Turns a parsed JSON value into RFC 3339. Raises ValueError with what is wrong."""

_DIGITS = {"epoch_s": 0, "epoch_ms": 3, "epoch_us": 6, "epoch_ns": 9}
_EPOCH = datetime.fromtimestamp(0, UTC)
_FINEST = 9
_FRACTIONS = [f".%0{places}d" for places in range(_FINEST + 1)]
_POWERS = [10**places for places in range(_FINEST + 1)]
_MAX_MAGNITUDE = 21  # of nanoseconds in the year 9999
_WITHOUT_ZONE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(\.[0-9]{1,9})?")
_OFFSET = re.compile(r"([+-])([01][0-9]):([0-5][0-9])")
_FIRST_SECONDS = 10**9  # in 2001
_MISREAD_BEFORE_S = 10**7  # 1970-04-26: times from 2001 to 2286 end up before it when read in a smaller unit
_INTEGER = re.compile(r"-?[0-9]{1,20}")


def timestamp_reader(form: Format, zone: str | None) -> Read:
    """Return the function of a format. Raises ValueError when the zone is not known."""
    if form == "rfc3339":
        return _as_written if zone is None else _in_zone(find_zone(zone))
    if zone is not None:
        raise ValueError(f"timestamp_zone: numbers since 1970 ({form}) have no zone: leave it out")
    return _since_1970(form)


def find_zone(name: str) -> tzinfo:
    """Return the zone of an IANA name or of an offset like ``+01:00``. Raises ValueError."""
    offset = _OFFSET.fullmatch(name)
    if offset:
        given = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-given if offset[1] == "-" else given)
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(
            f"{name!r} is no time zone: write a name like Europe/Paris, or an offset like +01:00"
        ) from None


def _as_written(found: object) -> str:
    if not isinstance(found, str):
        raise ValueError(not_text(found))  # noqa: TRY004 - the record's fault, not a type's
    return found


def _in_zone(zone: tzinfo) -> Read:
    def read(found: object) -> str:
        text = _as_written(found)
        local = _WITHOUT_ZONE.fullmatch(text)
        if local is None:
            return text  # it has a zone, or the contract refuses it
        try:
            moment = datetime.fromisoformat(local[1].upper()).replace(tzinfo=zone).astimezone(UTC)
        except (ValueError, OverflowError):
            return text
        return f"{moment.isoformat()[:19]}{local[2] or ''}Z"

    return read


def _since_1970(form: Format) -> Read:
    digits = _DIGITS[form]

    def read(found: object) -> str:
        count, places = (found, digits) if type(found) is int else _integer(found, digits)
        seconds, fraction = divmod(count, _POWERS[places])
        try:
            time = _to_second(seconds)
        except OverflowError:
            raise ValueError("is beyond the year 9999" + likely_unit(found)) from None
        if 0 <= seconds < _MISREAD_BEFORE_S and count >= _FIRST_SECONDS * _POWERS[places - digits]:
            raise ValueError(f"would be {time}Z as {form}" + likely_unit(count // _POWERS[places - digits]))
        return f"{time}{_FRACTIONS[places] % fraction}Z" if fraction else f"{time}Z"

    return read


@lru_cache(4096)
def _to_second(seconds: int) -> str:
    """Return a time as text. Most events share their second with others: the cache saves a tenth of the work."""
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]


def _integer(found: object, digits: int) -> tuple[int, int]:
    """Return a number that is no integer as one, and how many of its digits are below the second."""
    if isinstance(found, bool) or not isinstance(found, str | float):
        raise ValueError("must be a number since 1970")  # noqa: TRY004 - the record's fault
    text = str(found)
    if _INTEGER.fullmatch(text):
        return int(text), digits
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError("must be a number since 1970") from None
    if not number.is_finite() or abs(number.adjusted()) > _MAX_MAGNITUDE:
        raise ValueError("is no time of the calendar")
    return int(number.scaleb(_FINEST - digits)), _FINEST
