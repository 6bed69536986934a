"""Produces the records of a replay, and finds those that a killed one produced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from keepstream.schemas.record import TopicPartition, header
from keepstream.schemas.replay import REPLAY_ID, REPLAY_OF, DeliveryReport, ReplayRecord, TopicEnds
from keepstream.sinks.kafka.admin import KafkaAdmin, TopicMissingError
from keepstream.sinks.kafka.range_reader import RangeReader

_ANY = -1
"""librdkafka's value for a partition that the partitioner chooses."""
_OLDEST_MS = 1
"""For 0 and -1 librdkafka writes the current time, and the record would look newer than what was stored since."""
_TIMED_OUT = "the broker did not answer in time"
_SETTINGS: dict[str, str | int | float | bool] = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 5,
    "message.max.bytes": 16 * 1024 * 1024,
    # The default of Kafka's Java clients: a key goes to the same partition as from most producers.
    "partitioner": "murmur2_random",
}


class KafkaReplayProducer:
    """`ReplayProducer` on an idempotent producer. Raises KafkaException when the broker is away."""

    def __init__(self, client: KafkaAdmin, parking_topic: str, *, timeout_s: float = 30.0) -> None:
        self._client = client
        self._parking_topic = parking_topic
        self._timeout_s = timeout_s
        self._producer = Producer({**_SETTINGS, **client.config, "message.timeout.ms": int(timeout_s * 1000)})
        self._partitions: dict[str, list[TopicPartition]] = {}
        self._enqueued: list[ReplayRecord] = []
        self._reports: dict[str, DeliveryReport] = {}

    def ends(self, topics: Iterable[str]) -> TopicEnds:
        ends: TopicEnds = {topic: {} for topic in topics}
        asked = [partition for topic in ends for partition in self._partitions_of(topic)]
        for at, end in self._client.ends(asked, committed=False).items():
            ends[at.topic][at.partition] = end
        return ends

    def produce(self, dead_letters: Sequence[ReplayRecord]) -> None:
        self._enqueued.extend(dead_letters)
        for dead_letter in dead_letters:
            self._produce(dead_letter)

    def delivery_reports(self) -> list[DeliveryReport]:
        # Longer than message.timeout.ms: each record has its report by then, if only a timeout.
        self._producer.flush(self._timeout_s + 5)
        enqueued, reports, self._enqueued, self._reports = self._enqueued, self._reports, [], {}
        return [
            reports.get(one.dead_letter_id) or DeliveryReport(one.dead_letter_id, one.topic, None, None, _TIMED_OUT)
            for one in enqueued
        ]

    def find(self, replay_id: int, dead_letter_ids: set[str], since: TopicEnds) -> list[DeliveryReport]:
        found: dict[str, DeliveryReport] = {}
        wanted = str(replay_id)
        for topic, starts in since.items():
            parked = topic == self._parking_topic
            ends = self.ends([topic])[topic]
            # A record behind an open transaction of another producer is written, and would be sent twice if it were not
            # found: so uncommitted records are read too.
            with RangeReader(self._client, topic, **{"isolation.level": "read_uncommitted"}) as seeker:
                for record in seeker.read({p: (starts.get(p, 0), end) for p, end in ends.items()}):
                    letter_id = header(record, REPLAY_OF)
                    if letter_id in dead_letter_ids and header(record, REPLAY_ID) == wanted:
                        found[letter_id] = DeliveryReport(
                            letter_id, topic, record.partition, record.offset, parked=parked
                        )
        return [*found.values()]

    def _partitions_of(self, topic: str) -> list[TopicPartition]:
        if topic not in self._partitions:
            try:
                found = self._client.partitions(topic)
            except TopicMissingError:
                return []  # producing to it will report that, dead letter by dead letter
            self._partitions[topic] = [TopicPartition(topic, partition) for partition in found]
        return self._partitions[topic]

    def _produce(self, dead_letter: ReplayRecord) -> None:
        on_delivery = partial(_report, self._reports, dead_letter)
        partition = _ANY if dead_letter.partition is None else dead_letter.partition
        while True:
            try:
                self._producer.produce(
                    dead_letter.topic, dead_letter.value, dead_letter.key, partition, on_delivery=on_delivery,
                    timestamp=max(dead_letter.timestamp, _OLDEST_MS), headers=dead_letter.headers,  # type: ignore[arg-type]
                )  # fmt: skip
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                sent = DeliveryReport(dead_letter.dead_letter_id, dead_letter.topic, None, None, error.args[0].str())
                self._reports[dead_letter.dead_letter_id] = sent
                return
            else:
                return


def _report(
    reports: dict[str, DeliveryReport], dead_letter: ReplayRecord, error: KafkaError | None, message: Message
) -> None:
    why = error.str() if error else None
    place = dead_letter.topic, message.partition(), message.offset()
    reports[dead_letter.dead_letter_id] = DeliveryReport(dead_letter.dead_letter_id, *place, why, dead_letter.parks)
