"""A Kafka record, its coordinates and its headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple, Protocol

MAX_ID_CHARS = 255
MAX_TIMESTAMP_MS = 253_402_300_799_999
"""The last millisecond of the year 9999, which Python and PostgreSQL can both write."""


class TopicPartition(NamedTuple):
    """A partition of a topic. Equal, as a key too, to the named tuples of aiokafka and Faust."""

    topic: str
    partition: int


class Incarnation(NamedTuple):
    """One of the topics that had a name, one after the other.

    The number counts how often the topic was found re-created or truncated, and the id is Kafka's own, where known.
    A database that lost its offsets counts from 0 again: only both together identify a topic.
    """

    number: int = 0
    topic_id: str | None = None


class Record(Protocol):
    """Interface of a consumed record. aiokafka's ``ConsumerRecord`` satisfies it: no copy on the hot path."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970; -1 when the record has none."""
        ...

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """A record that aiokafka did not fetch: read from a dead letter topic, or built by a test."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


def record_id(record: Record) -> str:
    """Return the unique id of a record: ``topic-partition-offset``."""
    return f"{record.topic}-{record.partition}-{record.offset}"


def incarnation_name(topic: str, incarnation: int) -> str:
    """Name a topic that was re-created or truncated: ``topic~n``, which no topic can be called."""
    return f"{topic}~{incarnation}" if incarnation else topic


def parse_incarnation_name(name: str) -> tuple[str, int]:
    """Split what `incarnation_name` returned into the topic and its incarnation, 0 where the name says none."""
    topic, _, number = name.partition("~")
    return topic, int(number) if _is_number(number) else 0


def parse_record_id(record_id: str) -> tuple[str | None, int | None, int | None]:
    """Split ``topic-partition-offset``; three times None for any other text."""
    topic, *numbers = record_id.rsplit("-", 2)
    if len(numbers) < 2 or not _is_number(numbers[0]) or not _is_number(numbers[1]):  # noqa: PLR2004
        return None, None, None
    partition, offset = int(numbers[0]), int(numbers[1])
    return (topic, partition, offset) if partition < 2**31 else (None, None, None)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19  # noqa: PLR2004 - 64 bits


def cloud_event_id(source: str | None, id_: str) -> str:
    """Return the event_id of a CloudEvent: ``source id``, for only both together identify one (CloudEvents 1.0, 3.1).

    A blank in the source is percent-encoded, so the first blank ends it. What has more than 255 characters becomes
    ``sha256:`` and the hash of it; without a source, which the specification requires, the id alone counts.
    """
    if source is None:
        return id_
    joined = f"{source.replace(' ', '%20')} {id_}"
    return joined if len(joined) <= MAX_ID_CHARS else f"sha256:{sha256(joined.encode()).hexdigest()}"


def header(record: Record, name: str) -> str | None:
    """Return the last header of that name as text, or None when absent, empty or not UTF-8."""
    for key, value in reversed(record.headers):
        if key == name and value:
            return text_of(value)
    return None


def text_of(value: bytes | None) -> str | None:
    """Return a header's value as text, or None when absent, empty or not UTF-8."""
    try:
        return value.decode() if value else None
    except UnicodeDecodeError:
        return None


def is_text(name: str) -> bool:
    """Whether a string is UTF-8 without NUL: librdkafka crashes on other names, and PostgreSQL cannot store them."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name
