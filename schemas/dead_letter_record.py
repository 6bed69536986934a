"""A record of a dead letter topic, written by keepstream or by another framework."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from keepstream.schemas.dead_letter import (
    ID,
    ORIGINAL_TIMESTAMP,
    PREFIX,
    REPLAY_COUNT,
    DeadLetter,
    parse_replay_count,
)
from keepstream.schemas.failure import Failure, Step, Verdict
from keepstream.schemas.header_names import KNOWN, HeaderNames
from keepstream.schemas.record import (
    MAX_TIMESTAMP_MS,
    KafkaRecord,
    cloud_event_id,
    header,
    parse_incarnation_name,
    parse_record_id,
    text_of,
)


@dataclass(frozen=True)
class DeadLetterRecord:
    """A record of a dead letter topic with its headers parsed. An absent header is None."""

    record: KafkaRecord
    names: HeaderNames = KNOWN

    @property
    def record_id(self) -> str:
        """The record id in the dead letter topic: ``topic-partition-offset``."""
        return f"{self.record.topic}-{self.record.partition}-{self.record.offset}"

    @cached_property
    def id(self) -> str:
        """Id of the dead letter, equal for every copy: the original record's id, else this record's own.

        Where another system names the consumer group that failed, it is part of the id: two groups may share a dead
        letter topic, and each fails at the same record for its own reason.
        """
        if self._own_id:
            return self._own_id
        topic, partition, offset = self._origin
        if not topic or partition is None or offset is None:
            return self.record_id
        group = self.consumer_group
        return f"{topic}-{partition}-{offset}@{group}" if group else f"{topic}-{partition}-{offset}"

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
        return header(self.record, ID) if headers and headers[-1][0].startswith(PREFIX) else None

    @cached_property
    def _origin(self) -> tuple[str | None, int | None, int | None]:
        """Coordinates of the original record: from the id, or from other frameworks' headers where there is no id.

        Any producer can put those headers on an ordinary event, and would choose where a replay of it goes.
        """
        topic, partition, offset = parse_record_id(self._own_id or "")
        if topic:
            return parse_incarnation_name(topic)[0], partition, offset
        return self._text(self.names.topic), self._number(self.names.partition), self._number(self.names.offset)

    @property
    def consumer_group(self) -> str | None:
        """The consumer group, or Kafka Connect's connector, that failed; None in keepstream's own dead letters."""
        return None if self._own_id else self._text(self.names.consumer_group)

    @property
    def step(self) -> str | None:
        return self._text(self.names.step)

    @property
    def verdict(self) -> str | None:
        return self._header(PREFIX + "verdict")

    @property
    def reason(self) -> str | None:
        return self._text(self.names.reason)

    @property
    def message(self) -> str | None:
        return self._text(self.names.message)

    @property
    def sqlstate(self) -> str | None:
        return self._header(PREFIX + "sqlstate")

    @property
    def attempts(self) -> int | None:
        return self._number(self.names.attempts)

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
        """Time of the last failure in UTC: keepstream's header, else when another system published the dead letter."""
        timestamp_ms = min(max(self._published_timestamp, 0), MAX_TIMESTAMP_MS)
        return self.last_failed_at or datetime.fromtimestamp(timestamp_ms / 1000, UTC)

    @property
    def original_timestamp(self) -> int:
        """Kafka timestamp of the original record in milliseconds: of a header, else this record's own.

        A replay restores it, so that the record of another system does not look newer than what was stored since.
        """
        return self._timestamp_of_header or self._published_timestamp

    @property
    def has_original_timestamp(self) -> bool:
        """Whether `original_timestamp` is that of the original record, and not the time of the failure."""
        kept = self._own_id or self._timestamp_of_header or self._text(self.names.keeping_timestamp)
        return kept is not None

    @property
    def _timestamp_of_header(self) -> int | None:
        """Timestamp of the original record in another system's header."""
        found = (_timestamp_ms(self._values.get(name)) for name in self.names.timestamp)
        return None if self._own_id else next(filter(None, found), None)

    @property
    def _published_timestamp(self) -> int:
        """Timestamp of this record, or the one that it had before the broker dated it anew."""
        text = self._header(ORIGINAL_TIMESTAMP) or ""
        is_number = text.removeprefix("-").isdigit() and text.isascii() and len(text) < 20  # noqa: PLR2004 - 64 bits
        return int(text) if is_number else self.record.timestamp

    @property
    def dated_headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Headers that have this record's timestamp, for a topic where the broker dates the records.

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


def _timestamp_ms(value: bytes | None) -> int | None:
    """Parse milliseconds since 1970, as digits or as the big-endian integer of Spring, or RFC 3339."""
    timestamp_ms = _integer(value)
    if timestamp_ms is None and (time := _parse_time(text_of(value))):
        timestamp_ms = int(time.timestamp() * 1000)
    return timestamp_ms if timestamp_ms is not None and 0 < timestamp_ms <= MAX_TIMESTAMP_MS else None


def _parse_time(text: str | None) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(text) if text else None
        return parsed.astimezone(UTC) if parsed and parsed.tzinfo else None
    except (ValueError, OverflowError):  # invalid, or outside the calendar once in UTC
        return None
