"""Building the record that a replay produces from a dead letter: its headers, and changes of its value."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import lru_cache

from keepstream.processors.replay.json_edit import RepeatedNameError, indent, json_text, set_path
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.claim_check import claim_check_sha256
from keepstream.schemas.dead_letter import PREFIX, REPLAY_COUNT
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.event import Rejection
from keepstream.schemas.record import KafkaRecord
from keepstream.schemas.replay import REPLAY_ID, REPLAY_OF, REPLAYED_BY, ReplayOptions, ReplayRecord, ReplayRun


class ChangeError(ValueError):
    """Raised when a change does not fit a payload; the message names the path."""


def build_replay_record(
    dead_letter: DeadLetterRecord, run: ReplayRun, edited_value: bytes | None = None
) -> ReplayRecord:
    """Build the record for the source topic, with one more replay counted, or for the parking lot.

    Key, value, timestamp and original headers stay, also most of those that name the source, for a second failure.
    Error headers are removed. Raises ChangeError.
    """
    record, options = dead_letter.record, run.options
    if claim_check_sha256(dead_letter):
        raise ChangeError(f"{dead_letter.id} is a claim check, and its original is not in PostgreSQL any more")
    marks = [*_run_marks(run.id, options.requested_by), (REPLAY_OF, dead_letter.id.encode())]
    replays = dead_letter.replay_count
    if replays >= options.max_replays:
        headers = [*dead_letter.dated_headers, *marks]
        return ReplayRecord(
            dead_letter.id, options.parking_topic, None, record.key, record.value, headers, record.timestamp, parks=True
        )
    dropped = dead_letter.names.dropped
    kept = [pair for pair in record.headers if not _is_dropped(pair[0], dropped)]
    headers = [*kept, (REPLAY_COUNT, b"%d" % (replays + 1)), *marks]
    value = apply_changes(record.value, options.changes) if edited_value is None else edited_value
    partition = dead_letter.origin_partition if options.same_partition else None
    topic, timestamp = target_topic_of(dead_letter, options), dead_letter.original_timestamp
    return ReplayRecord(dead_letter.id, topic, partition, record.key, value, headers, timestamp)


@lru_cache(maxsize=1024)
def _is_dropped(name: str, dropped: frozenset[str]) -> bool:
    """Whether a header describes the failure. Cached: the dead letters of a topic share a few names."""
    return name in dropped or name.startswith(PREFIX)


@lru_cache(maxsize=1)
def _run_marks(run_id: int, requested_by: str | None) -> list[tuple[str, bytes | None]]:
    """Return the headers that name the run and its user."""
    by = [(REPLAYED_BY, requested_by.encode())] if requested_by else []
    return [(REPLAY_ID, str(run_id).encode()), *by]


def target_topic_of(dead_letter: DeadLetterRecord, options: ReplayOptions) -> str:
    """Return the target topic of a dead letter. Raises ChangeError when neither it nor the options name one."""
    topic = options.target_topic or dead_letter.origin_topic
    if topic is None:
        raise ChangeError(f"{dead_letter.record_id} does not name the topic it came from; name one with --to-topic")
    return topic


def apply_changes(value: bytes | None, changes: Sequence[tuple[str, str]]) -> bytes | None:
    """Set each path to its text (JSON where it parses, else a string); all other bytes stay as they are.

    Raises ChangeError when the value is not JSON, or a path leads nowhere or to a name that an object has twice.
    """
    if not changes:
        return value
    try:
        text = (value or b"").decode()
        for path, wanted in changes:
            text = _set(text, path, wanted)
    except ChangeError:
        raise
    except (ValueError, RecursionError):
        raise ChangeError("the value is not JSON, so no path of it can be set") from None
    return text.encode(errors="backslashreplace")  # half a surrogate pair becomes the escape that JSON has for it


def revalidate(validator: Validator, dead_letter: DeadLetterRecord, value: bytes | None) -> Rejection | None:
    """Check a value against today's contract, as the worker would; None when it would pass."""
    record = dead_letter.record
    timestamp = dead_letter.original_timestamp
    again = KafkaRecord(record.topic, record.partition, record.offset, timestamp, record.key, value, record.headers)
    verdict = validator.validate(again)
    return verdict if isinstance(verdict, Rejection) else None


def diff(dead_letter: DeadLetterRecord, value: bytes | None) -> str:
    """Return a unified diff between the dead letter's value and the new one, one JSON member per line."""
    before, after = _lines(dead_letter.record.value), _lines(value)
    return "\n".join(difflib.unified_diff(before, after, dead_letter.id, "replayed", lineterm=""))


def _lines(value: bytes | None) -> list[str]:
    try:
        return indent(value or b"").splitlines()
    except (ValueError, RecursionError):
        return (value or b"").decode(errors="backslashreplace").splitlines()


def _set(text: str, path: str, wanted: str) -> str:
    try:
        return set_path(text, path, json_text(wanted))
    except RepeatedNameError as error:
        raise ChangeError(f"the value has {str(error)!r} more than once, so {path!r} cannot be set") from None
    except LookupError:
        raise ChangeError(f"the value has no path {path!r} that could be set") from None
