"""From a dead letter back to a record: what it sheds, what it keeps, what is changed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from keepstream.processors.validation.validate import Validator
from keepstream.schemas.claim_check import claim_check_sha256
from keepstream.schemas.dead_letter import PREFIX, REPLAY_COUNT
from keepstream.schemas.dead_letter_record import ERROR_HEADERS, DeadLetterRecord
from keepstream.schemas.event import Rejection
from keepstream.schemas.record import KafkaRecord
from keepstream.schemas.replay import REPLAY_ID, REPLAY_OF, REPLAYED_BY, ReplayOptions, ReplayRecord, ReplayRun


class ChangeError(ValueError):
    """A change does not fit a payload; the message names the path."""


def build_replay_record(letter: DeadLetterRecord, run: ReplayRun, edited_value: bytes | None = None) -> ReplayRecord:
    """Build what a replay produces for a letter: home with one more replay, or to the parking lot.

    Key, value, timestamp and the original headers stay; what says why it died goes; where it came from stays, so that
    a second death still knows its home.
    """
    record, options = letter.record, run.options
    if claim_check_sha256(letter):
        raise ChangeError(f"{letter.id} is a reference, and its original is not in PostgreSQL any more")
    marks = [*_run_marks(run.id, options.requested_by), (REPLAY_OF, letter.id.encode())]
    replays = letter.replay_count
    if replays >= options.max_replays:
        headers = [*record.headers, *marks]
        return ReplayRecord(letter.id, options.parking_topic, None, record.key, record.value, headers, record.timestamp,
                        parks=True)  # fmt: skip
    kept = [pair for pair in record.headers if not _SHED[pair[0]]]
    headers = [*kept, (REPLAY_COUNT, b"%d" % (replays + 1)), *marks]
    value = changed(record.value, options.changes) if edited_value is None else edited_value
    partition = letter.origin_partition if options.same_partition else None
    return ReplayRecord(
        letter.id, target_topic_of(letter, options), partition, record.key, value, headers, record.timestamp
    )


class _Shed(dict[str, bool]):
    """Whether a header says why the record died. Remembered: the letters of a topic share a few names."""

    def __missing__(self, header_name: str) -> bool:
        shed = header_name in ERROR_HEADERS or header_name.startswith(PREFIX)
        if len(self) < _MAX_NAMES:
            self[header_name] = shed
        return shed


_MAX_NAMES = 1024
_SHED = _Shed()


@lru_cache(maxsize=1)
def _run_marks(run_id: int, requested_by: str | None) -> list[tuple[str, bytes | None]]:
    """Say which run sent a letter, and who asked for it."""
    by = [(REPLAYED_BY, requested_by.encode())] if requested_by else []
    return [(REPLAY_ID, str(run_id).encode()), *by]


def target_topic_of(letter: DeadLetterRecord, options: ReplayOptions) -> str:
    """Return the topic a letter goes to. Raises ChangeError when neither the letter nor the options name one."""
    topic = options.target_topic or letter.origin_topic
    if topic is None:
        raise ChangeError(f"{letter.record_id} does not say which topic it came from; name one with --to-topic")
    return topic


def changed(value: bytes | None, changes: Sequence[tuple[str, str]]) -> bytes | None:
    """Set each path to its text (JSON where it parses, else a string); the bytes stay when there is nothing to change.

    Raises ChangeError when the value is not JSON or a path leads nowhere.
    """
    if not changes:
        return value
    try:
        document = json.loads(value or b"")
    except (ValueError, RecursionError):
        raise ChangeError("the value is not JSON, so no path of it can be set") from None
    for path, text in changes:
        _set(document, path, text)
    try:
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can write
        return json.dumps(document, separators=(",", ":")).encode()


def revalidate(validator: Validator, letter: DeadLetterRecord, value: bytes | None) -> Rejection | None:
    """Check a value against today's contract, as the worker would; None when it would pass."""
    record = letter.record
    again = KafkaRecord(record.topic, record.partition, record.offset, record.timestamp, record.key, value,
                        record.headers)  # fmt: skip
    verdict = validator.validate(again)
    return verdict if isinstance(verdict, Rejection) else None


def difference(letter: DeadLetterRecord, value: bytes | None) -> str:
    """Return a unified diff between what died and what would go out, one JSON member per line."""
    before, after = _lines(letter.record.value), _lines(value)
    return "\n".join(difflib.unified_diff(before, after, letter.id, "replayed", lineterm=""))


def _lines(value: bytes | None) -> list[str]:
    try:
        return json.dumps(json.loads(value or b""), indent=2, ensure_ascii=False).splitlines()
    except (ValueError, RecursionError):
        return (value or b"").decode(errors="backslashreplace").splitlines()


def _set(document: Any, path: str, text: str) -> None:  # noqa: ANN401
    *parents, last = path.split(".")
    place = document
    try:
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place[part]
        place[int(last) if isinstance(place, list) else last] = _parsed(text)
    except (KeyError, IndexError, TypeError, ValueError):
        raise ChangeError(f"there is nothing at {path!r} to set") from None


def _parsed(text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
