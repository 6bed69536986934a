"""Produces exported dead letters to a topic again: key, value and headers byte for byte."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka.confirmed_producer import record_id_of
from keepstream.sinks.kafka.dead_letters import PRODUCER_SETTINGS

Imported = tuple[KafkaRecord, str | None]
"""A record and its new record id, None where the broker did not report it."""

_BATCH = 1000
_CONFIRM_TIMEOUT_S = 60


class DeadLetterImporter:
    """An idempotent producer for one topic. ``partitions`` are those that the topic has."""

    def __init__(self, client: Mapping[str, object], topic: str, partitions: Container[int]) -> None:
        self._topic = topic
        self._partitions = partitions
        self._producer = Producer({
            **PRODUCER_SETTINGS, **client, "linger.ms": 20, "message.timeout.ms": _CONFIRM_TIMEOUT_S * 1000,
        })  # fmt: skip

    def send(self, records: Iterable[KafkaRecord]) -> Iterator[Sequence[Imported]]:
        """Produce, and yield batches with their new record ids, each once the broker has confirmed it.

        Raises KafkaException when it has not.
        A dead letter goes to its old partition where there is one of that number. Retention counts from the import, so
        its timestamp is new; the one that it had is in a header.
        """
        source = iter(records)
        while batch := list(itertools.islice(source, _BATCH)):
            yield self._send(batch)

    def _send(self, batch: Sequence[KafkaRecord]) -> list[Imported]:
        errors: list[KafkaError] = []
        imported: list[Imported] = []
        for record in batch:
            self._produce(record, imported, errors)
        self._producer.flush(_CONFIRM_TIMEOUT_S + 5)  # every message has its report by then, if only a timeout
        if errors:
            raise KafkaException(errors[0])
        return imported

    def _produce(self, record: KafkaRecord, imported: list[Imported], errors: list[KafkaError]) -> None:
        def confirm(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                errors.append(error)
            else:
                imported.append((record, record_id_of(message) or None))

        partition = {"partition": record.partition} if record.partition in self._partitions else {}
        self._producer.produce(
            self._topic, value=record.value, key=record.key, headers=[*DeadLetterRecord(record).dated_headers],
            on_delivery=confirm, **partition,  # type: ignore[arg-type]
        )  # fmt: skip
