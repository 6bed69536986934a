"""The producer of the demo, with counts of acknowledged records."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from keepstream.app.demo.traffic import DemoRecord
from keepstream.schemas.outcome import Outcome


class DemoProducer:
    """Idempotent producer. ``produced`` and ``dead_values`` count acknowledged records only."""

    def __init__(self, client: Mapping[str, str | int | float | bool], topic: str) -> None:
        self._producer = Producer({**client, "enable.idempotence": True, "compression.type": "lz4", "linger.ms": 5})
        self._topic = topic
        self.produced: Counter[Outcome] = Counter()
        self.dead_values: Counter[bytes | None] = Counter()

    @property
    def acknowledged(self) -> int:
        return sum(self.produced.values())

    def send(self, record: DemoRecord) -> None:
        """Send a record. Raises KafkaException when the broker refused an earlier one."""

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                raise KafkaException(error)
            self.produced[record.outcome] += 1
            if record.outcome is Outcome.DEAD_LETTERED:
                self.dead_values[record.value] += 1

        while True:
            try:
                self._producer.produce(self._topic, record.value, record.key, on_delivery=delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def send_paced(self, records: Iterable[DemoRecord], rate: float) -> Iterator[int]:
        """Send at ``rate`` records per second on an open schedule; yield the number of each."""
        started = time.monotonic()
        for number, record in enumerate(records):
            while (early_s := started + number / rate - time.monotonic()) > 0:
                self._producer.poll(min(early_s, 0.01))
            self.send(record)
            yield number

    def flush(self) -> None:
        """Wait until everything sent is acknowledged."""
        self._producer.flush()
