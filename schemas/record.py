"""One Kafka record exactly as it arrived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Record(Protocol):
    """The shape of a consumed record: aiokafka's ``ConsumerRecord`` fits it, so nothing is copied on the hot path."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970; -1 where the producer gave none."""
        ...

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """A record of our own making: read back from a dead letter topic, or built by a test."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


def record_id(record: Record) -> str:
    """Name a record for ever: ``topic-partition-offset``."""
    return f"{record.topic}-{record.partition}-{record.offset}"


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
