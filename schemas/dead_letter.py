"""A record that could not be processed and the reason, and the headers that carry both.

The header names are a union of what others read (Kafka Connect's ``__connect.errors.*``, Spring's
``kafka_dlt-original-topic``, Spring Cloud Stream's ``x-original-topic``) and our own ``keepstream.dlq.*``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from keepstream.schemas.failure import Failure
from keepstream.schemas.record import KafkaRecord, Record, header, incarnation_name

MAX_TEXT_BYTES = 1024
PREFIX = "keepstream.dlq."
ID = PREFIX + "id"
REPLAY_COUNT = PREFIX + "replay-count"
ORIGINAL_TIMESTAMP = PREFIX + "original-timestamp"
"""The Kafka timestamp of the source record in milliseconds; that of the dead letter says when it was published."""
CONNECT = "__connect.errors."
ORIGIN = (
    CONNECT + "topic",
    CONNECT + "partition",
    CONNECT + "offset",
    "kafka_dlt-original-topic",
    "x-original-topic",
)
"""Coordinates of the source record, for readers other than keepstream, which reads the id. Kept when it fails again."""
ERROR = (CONNECT + "stage", CONNECT + "exception.class.name", CONNECT + "exception.message")
"""The error. Replaced when the record fails again."""
_OURS = (
    "id", "step", "verdict", "reason", "sqlstate", "attempts", "first-failure", "last-failure", "event-id",
    "correlation-id", "original-timestamp", "replay-count", "app-version",
)  # fmt: skip
ADDED = (*ORIGIN, *ERROR, *(PREFIX + name for name in _OURS))
"""The names of our headers, in order."""
TRACEPARENT = "traceparent"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An untouched record and its failure. ``first_failed_at`` and ``last_failed_at`` are in UTC."""

    record: Record
    failure: Failure
    first_failed_at: datetime
    last_failed_at: datetime
    event_id: str | None = None
    correlation_id: str | None = None
    incarnation: int = 0
    """How often the topic was re-created or truncated before: the same offset is then another record."""

    @property
    def topic(self) -> str:
        """The topic as the id names it: ``topic~n`` once it was re-created or truncated n times."""
        return incarnation_name(self.record.topic, self.incarnation)

    @property
    def id(self) -> str:
        """The id, equal for every copy: a crash may publish a dead letter twice, and readers deduplicate by it."""
        return f"{self.topic}-{self.record.partition}-{self.record.offset}"

    @property
    def replay_count(self) -> int:
        """The number of earlier replays; 0 when the header is absent or not a number."""
        return parse_replay_count(header(self.record, REPLAY_COUNT))


def parse_replay_count(text: str | None) -> int:
    """Return the value of a replay count header; 0 when it is absent or not a number of 32 bits."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0  # noqa: PLR2004


def first_original_timestamp_ms(records: Sequence[Record]) -> int:
    """Return the Kafka timestamp of the first record that is no replay, or -1: a replay keeps its old timestamp."""
    for record in records:
        if not any(name == REPLAY_COUNT for name, _ in record.headers):
            return record.timestamp
    return -1


def to_record(dead_letter: DeadLetter, app_version: str) -> KafkaRecord:
    """Return the record to publish: the source record, under its own coordinates, with our headers."""
    record, headers = dead_letter.record, dead_letter_headers(dead_letter, app_version)
    return KafkaRecord(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, headers
    )


def dead_letter_headers(dead_letter: DeadLetter, app_version: str) -> list[tuple[str, bytes | None]]:
    """Return the original headers, in order and byte for byte, followed by ours (texts truncated to 1 KiB)."""
    kept = list(_kept(dead_letter.record)) if dead_letter.record.headers else []
    present = {key for key, _ in kept}
    added = zip(ADDED, _values(dead_letter, app_version), strict=True)
    return kept + [(key, truncate_utf8(text)) for key, text in added if text is not None and key not in present]


def truncate_utf8(text: str) -> bytes:
    """Encode text as UTF-8, truncated to 1 KiB between two characters."""
    encoded = text.encode(errors="replace")
    return encoded if len(encoded) <= MAX_TEXT_BYTES else encoded[:MAX_TEXT_BYTES].decode(errors="ignore").encode()


def _kept(record: Record) -> Iterator[tuple[str, bytes | None]]:
    last_trace = max((i for i, (key, _) in enumerate(record.headers) if key == TRACEPARENT), default=-1)
    for i, (key, value) in enumerate(record.headers):
        ours = key in ERROR or key.startswith(PREFIX)
        if not ours and (key != TRACEPARENT or i == last_trace):
            yield key, value


def _values(dead_letter: DeadLetter, app_version: str) -> Sequence[str | None]:
    """Return the values of our headers, in the order of `ADDED`; None where a dead letter has none."""
    record, failure = dead_letter.record, dead_letter.failure
    first = last = _rfc3339(dead_letter.first_failed_at)
    if dead_letter.last_failed_at is not dead_letter.first_failed_at:
        last = _rfc3339(dead_letter.last_failed_at)
    return (
        record.topic, str(record.partition), str(record.offset), record.topic, record.topic,
        failure.step.value, f"keepstream.{failure.reason}", failure.message,
        dead_letter.id, failure.step.value, failure.verdict.value, failure.reason, failure.sqlstate,
        str(failure.attempts), first, last, dead_letter.event_id, dead_letter.correlation_id, str(record.timestamp),
        str(dead_letter.replay_count), app_version,
    )  # fmt: skip


def _rfc3339(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
