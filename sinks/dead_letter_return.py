"""Putting exported dead letters back into a topic, byte for byte."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, Producer

from sinks.dead_letters import PRODUCER_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from confluent_kafka import KafkaError, Message

    from schemas.record import KafkaRecord

_BATCH = 1000
_CONFIRM_TIMEOUT_S = 60


class LettersReturn:
    """An idempotent producer for one topic. ``partitions`` are those that the topic has."""

    def __init__(self, client: Mapping[str, object], topic: str, partitions: Container[int]) -> None:
        self._topic = topic
        self._partitions = partitions
        self._producer = Producer({
            **client, **PRODUCER_SETTINGS, "linger.ms": 20, "message.timeout.ms": _CONFIRM_TIMEOUT_S * 1000,
        })  # fmt: skip

    def send(self, records: Iterable[KafkaRecord]) -> Iterator[Sequence[KafkaRecord]]:
        """Produce, and yield batches once the broker has confirmed all of one. Raises KafkaException when it has not.

        A letter goes to the partition that it had, where there is one of that number. librdkafka writes the present
        moment for the timestamps 0 and -1.
        """
        source = iter(records)
        while batch := list(itertools.islice(source, _BATCH)):
            self._send(batch)
            yield batch

    def _send(self, batch: Sequence[KafkaRecord]) -> None:
        errors: list[KafkaError] = []
        for record in batch:
            self._produce(record, errors)
        self._producer.flush(_CONFIRM_TIMEOUT_S + 5)  # every message has been answered by then, if with a time-out
        if errors:
            raise KafkaException(errors[0])

    def _produce(self, record: KafkaRecord, errors: list[KafkaError]) -> None:
        def confirm(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                errors.append(error)

        partition = {"partition": record.partition} if record.partition in self._partitions else {}
        self._producer.produce(
            self._topic, value=record.value, key=record.key, headers=[*record.headers],
            timestamp=max(record.timestamp, 0), on_delivery=confirm, **partition,  # type: ignore[arg-type]
        )  # fmt: skip
