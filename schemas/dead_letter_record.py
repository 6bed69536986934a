"""A record of a dead letter topic, written by keepstream or by another framework.

Header names: Kafka Connect (KIP-298), Kafka Streams (KIP-1034), share groups (KIP-1191), Spring Kafka, Spring Cloud
Stream, SmallRye, Karafka Pro, django-kafka, arroyo, and our own.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from keepstream.schemas.dead_letter import (
    CONNECT,
    ID,
    ORIGINAL_TIMESTAMP,
    PREFIX,
    REPLAY_COUNT,
    DeadLetter,
    parse_replay_count,
)
from keepstream.schemas.failure import Failure, Step, Verdict
from keepstream.schemas.record import (
    MAX_TIMESTAMP_MS,
    KafkaRecord,
    cloud_event_id,
    parse_incarnation_name,
    parse_record_id,
    text_of,
)

TOPIC = (
    CONNECT + "topic", "__streams.errors.topic", "__dlq.errors.topic", "kafka_dlt-original-topic", "x-original-topic",
    "dead-letter-topic", "source_topic", "DEAD_LETTER_MESSAGE_TOPIC",
)  # fmt: skip
PARTITION = (
    CONNECT + "partition", "__streams.errors.partition", "__dlq.errors.partition", "kafka_dlt-original-partition",
    "x-original-partition", "dead-letter-partition", "source_partition", "original_partition",
    "DEAD_LETTER_MESSAGE_PARTITION",
)  # fmt: skip
OFFSET = (
    CONNECT + "offset", "__streams.errors.offset", "__dlq.errors.offset", "kafka_dlt-original-offset",
    "x-original-offset", "dead-letter-offset", "source_offset", "original_offset", "DEAD_LETTER_MESSAGE_OFFSET",
)  # fmt: skip
STEP = (PREFIX + "step", CONNECT + "stage")
REASON = (
    PREFIX + "reason", CONNECT + "exception.class.name", "__streams.errors.exception", "kafka_dlt-exception-fqcn",
    "x-exception-fqcn", "dead-letter-exception-class-name",
)  # fmt: skip
MESSAGE = (
    CONNECT + "exception.message", "__streams.errors.message", "__dlq.errors.message", "kafka_dlt-exception-message",
    "x-exception-message", "dead-letter-reason", "DEAD_LETTER_SUMMARY",
)  # fmt: skip
ATTEMPTS = (
    PREFIX + "attempts", "__dlq.errors.delivery.count", "kafka_deliveryAttempt", "retry_topic-attempts",
    "source_attempts", "delayed-retry-count",
)  # fmt: skip
ERROR_HEADERS = frozenset(
    {*STEP, *REASON, *MESSAGE, *ATTEMPTS, "DEAD_LETTER_DETAIL", CONNECT + "exception.stacktrace",
     "__streams.errors.stacktrace", "kafka_dlt-exception-stacktrace", "x-exception-stacktrace",
     "kafka_dlt-exception-cause-fqcn", "dead-letter-cause", "dead-letter-cause-class-name"}
)  # fmt: skip
"""Headers that describe the error: a replay drops them, and keeps those of the record's origin."""


@dataclass(frozen=True)
class DeadLetterRecord:
    """A record of a dead letter topic with its headers parsed. An absent header is None."""

    record: KafkaRecord

    @property
    def record_id(self) -> str:
        """The record id in the dead letter topic: ``topic-partition-offset``."""
        return f"{self.record.topic}-{self.record.partition}-{self.record.offset}"

    @cached_property
    def id(self) -> str:
        """Id of the dead letter, equal for every copy: the original record's id, else this record's own."""
        if self._own_id:
            return self._own_id
        topic, partition, offset = self._origin
        if topic and partition is not None and offset is not None:
            return f"{topic}-{partition}-{offset}"
        return self.record_id

    @property
    def origin_topic(self) -> str | None:
        return self._origin[0]

    @property
    def origin_partition(self) -> int | None:
        return self._origin[1]

    @property
    def origin_offset(self) -> int | None:
        return self._origin[2]

    @property
    def incarnation(self) -> int:
        """How often the origin topic had been re-created or truncated before, as keepstream's id says."""
        return parse_incarnation_name(parse_record_id(self._own_id or "")[0] or "")[1]

    @cached_property
    def _own_id(self) -> str | None:
        """Return the id that keepstream wrote: its headers follow those of the original record."""
        headers = self.record.headers
        return self._header(ID) if headers and headers[-1][0].startswith(PREFIX) else None

    @cached_property
    def _origin(self) -> tuple[str | None, int | None, int | None]:
        """Coordinates of the original record: from the id, or from other frameworks' headers where there is no id.

        Any producer can put those headers on an ordinary event, and would choose where a replay of it goes.
        """
        topic, partition, offset = parse_record_id(self._own_id or "")
        if topic:
            return parse_incarnation_name(topic)[0], partition, offset
        return self._text(TOPIC), self._number(PARTITION), self._number(OFFSET)

    @property
    def step(self) -> str | None:
        return self._text(STEP)

    @property
    def verdict(self) -> str | None:
        return self._header(PREFIX + "verdict")

    @property
    def reason(self) -> str | None:
        return self._text(REASON)

    @property
    def message(self) -> str | None:
        return self._text(MESSAGE)

    @property
    def sqlstate(self) -> str | None:
        return self._header(PREFIX + "sqlstate")

    @property
    def attempts(self) -> int | None:
        return self._number(ATTEMPTS)

    @property
    def event_id(self) -> str | None:
        ce_id = self._header("ce_id")
        return self._header(PREFIX + "event-id") or (ce_id and cloud_event_id(self._header("ce_source"), ce_id))

    @property
    def correlation_id(self) -> str | None:
        return self._header(PREFIX + "correlation-id") or self._header("correlation_id")

    @property
    def replay_count(self) -> int:
        return parse_replay_count(self._header(REPLAY_COUNT))

    @property
    def first_failed_at(self) -> datetime | None:
        return _parse_time(self._header(PREFIX + "first-failure"))

    @cached_property
    def last_failed_at(self) -> datetime | None:
        """Time of the last failure, in UTC; None without a valid header."""
        return _parse_time(self._header(PREFIX + "last-failure"))

    @cached_property
    def failed_at(self) -> datetime:
        """Time of the last failure in UTC: keepstream's header, else the original timestamp."""
        timestamp_ms = min(max(self.original_timestamp, 0), MAX_TIMESTAMP_MS)
        return self.last_failed_at or datetime.fromtimestamp(timestamp_ms / 1000, UTC)

    @property
    def original_timestamp(self) -> int:
        """Kafka timestamp of the original record in milliseconds: keepstream's header, else this record's own."""
        text = self._header(ORIGINAL_TIMESTAMP) or ""
        is_number = text.removeprefix("-").isdigit() and text.isascii() and len(text) < 20  # noqa: PLR2004 - 64 bits
        return int(text) if is_number else self.record.timestamp

    @property
    def dated_headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Headers that have the original timestamp, for a topic where the broker dates the records.

        In front: behind the headers of another system it would make an id that they contain keepstream's.
        """
        headers, timestamp = self.record.headers, self.record.timestamp
        if timestamp <= 0 or self.raw(ORIGINAL_TIMESTAMP) is not None:
            return headers
        return [(ORIGINAL_TIMESTAMP, b"%d" % timestamp), *headers]

    def to_dead_letter(self) -> DeadLetter:
        """Return the dead letter that keepstream published as this record."""
        failure = Failure(
            Step(self.step or Step.STORE), Verdict(self.verdict or Verdict.RECORD), self.reason or "unknown",
            self.message or "", self.sqlstate, self.attempts or 1,
        )  # fmt: skip
        first = self.first_failed_at or self.failed_at
        return DeadLetter(
            self.record, failure, first, self.failed_at, self.event_id, self.correlation_id, self.incarnation
        )

    @cached_property
    def _values(self) -> dict[str, bytes]:
        """The last non-empty value of each header."""
        last = dict(self.record.headers)
        return last if all(last.values()) else {name: value for name, value in self.record.headers if value}  # type: ignore[return-value]

    def raw(self, name: str) -> bytes | None:
        """Return the last value of that name; None when absent or empty."""
        return self._values.get(name)

    def _header(self, name: str) -> str | None:
        return text_of(self._values.get(name))

    def _text(self, names: tuple[str, ...]) -> str | None:
        return next(filter(None, map(self._header, names)), None)

    def _number(self, names: tuple[str, ...]) -> int | None:
        numbers = (_integer(self._values.get(name)) for name in names)
        return next((number for number in numbers if number is not None), None)


def _integer(value: bytes | None) -> int | None:
    """Parse digits, or the big-endian integers of Spring. Negative numbers are not valid here."""
    number = -1
    if value and value.isdigit():
        number = int(value) if len(value) < 20 else -1  # noqa: PLR2004 - 64 bits
    elif value and len(value) in (4, 8) and value[0] == 0:  # a first byte above 0 is text, like "null"
        number = int(struct.unpack(">i" if len(value) == 4 else ">q", value)[0])  # noqa: PLR2004
    return number if 0 <= number < 2**63 else None


def _parse_time(text: str | None) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(text) if text else None
        return parsed.astimezone(UTC) if parsed and parsed.tzinfo else None
    except (ValueError, OverflowError):  # invalid, or outside the calendar once in UTC
        return None
