"""Dead letter topics whose letters say when they died."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Producer

from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.sinks.kafka.admin import KafkaAdmin
from keepstream.sinks.kafka.dead_letter_reader import newest_first, oldest_first
from tests.real import Kafka

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass
class Letters:
    """A dead letter topic whose letters say when they died, counted in minutes after noon."""

    kafka: Kafka
    topic: str

    @property
    def client(self) -> KafkaAdmin:
        return KafkaAdmin({"bootstrap.servers": self.kafka.bootstrap_servers, "allow.auto.create.topics": False})

    def bury(self, deaths: Iterable[int], partition: int = 0, *, value: bytes = b"{}") -> None:
        """Produce a letter per minute of death; its own timestamp runs the other way."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap_servers, "linger.ms": 20})
        for minute in deaths:
            died_at = (NOON + minute * MINUTE).isoformat()
            name = f"events-{partition}-{minute}"
            headers: Any = [("keepstream.dlq.id", name.encode()), ("keepstream.dlq.last-failure", died_at.encode())]
            timestamp = 1_795_514_400_000 - minute * 1000
            producer.produce(self.topic, value, partition=partition, headers=headers, timestamp=timestamp)
            producer.poll(0)
        assert producer.flush(60) == 0

    def newest(self, count: int | None = None, **options: Any) -> list[int]:
        return minutes(itertools.islice(newest_first(self.client, self.topic, **options), count))

    def oldest(self, count: int | None = None, **options: Any) -> list[int]:
        return minutes(itertools.islice(oldest_first(self.client, self.topic, **options), count))


def minutes(letters: Iterable[DeadLetterRecord]) -> list[int]:
    """Return the minutes of death."""
    return [round((letter.failed_at - NOON) / MINUTE) for letter in letters]
