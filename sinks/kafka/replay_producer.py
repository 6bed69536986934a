"""Producing what a replay sends, and finding again what a killed one sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from keepstream.schemas.record import TopicPartition, header
from keepstream.schemas.replay import REPLAY_ID, REPLAY_OF, DeliveryReport, ReplayRecord, TopicEnds
from keepstream.sinks.kafka.admin import KafkaAdmin, TopicMissingError
from keepstream.sinks.kafka.range_reader import RangeReader

_ANY = -1
"""librdkafka's name for the partition that the partitioner chooses."""
_SILENT = "the broker did not answer in time"
_SETTINGS: dict[str, str | int | float | bool] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 5,
    "message.max.bytes": 16 * 1024 * 1024,
    # As Kafka's own clients do: the same key goes to the same partition as from most producers.
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
        self._posted: list[ReplayRecord] = []
        self._answers: dict[str, DeliveryReport] = {}

    def ends(self, topics: Iterable[str]) -> TopicEnds:
        ends: TopicEnds = {topic: {} for topic in topics}
        asked = [partition for topic in ends for partition in self._partitions_of(topic)]
        for at, end in self._client.ends(asked).items():
            ends[at.topic][at.partition] = end
        return ends

    def post(self, letters: Sequence[ReplayRecord]) -> None:
        self._posted.extend(letters)
        for letter in letters:
            self._produce(letter)

    def answers(self) -> list[DeliveryReport]:
        # Longer than a message may take: each one has been answered by then, if only with a time-out.
        self._producer.flush(self._timeout_s + 5)
        posted, answers, self._posted, self._answers = self._posted, self._answers, [], {}
        return [
            answers.get(one.dead_letter_id) or DeliveryReport(one.dead_letter_id, one.topic, None, None, _SILENT)
            for one in posted
        ]

    def find(self, replay_id: int, letter_ids: set[str], since: TopicEnds) -> list[DeliveryReport]:
        found: dict[str, DeliveryReport] = {}
        wanted = str(replay_id)
        for topic, starts in since.items():
            parked = topic == self._parking_topic
            ends = self.ends([topic])[topic]
            with RangeReader(self._client, topic) as seeker:
                for record in seeker.read({p: (starts.get(p, 0), end) for p, end in ends.items()}):
                    letter_id = header(record, REPLAY_OF)
                    if letter_id in letter_ids and header(record, REPLAY_ID) == wanted:
                        found[letter_id] = DeliveryReport(
                            letter_id, topic, record.partition, record.offset, parked=parked
                        )
        return [*found.values()]

    def _partitions_of(self, topic: str) -> list[TopicPartition]:
        if topic not in self._partitions:
            try:
                found = self._client.partitions(topic)
            except TopicMissingError:
                return []  # producing to it will report that, letter by letter
            self._partitions[topic] = [TopicPartition(topic, partition) for partition in found]
        return self._partitions[topic]

    def _produce(self, letter: ReplayRecord) -> None:
        answered = partial(_answer, self._answers, letter)
        partition = _ANY if letter.partition is None else letter.partition
        while True:
            try:
                self._producer.produce(
                    letter.topic, letter.value, letter.key, partition, on_delivery=answered,
                    timestamp=max(letter.timestamp, 0), headers=letter.headers,  # type: ignore[arg-type]
                )  # fmt: skip
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                sent = DeliveryReport(letter.dead_letter_id, letter.topic, None, None, error.args[0].str())
                self._answers[letter.dead_letter_id] = sent
                return
            else:
                return


def _answer(
    answers: dict[str, DeliveryReport], letter: ReplayRecord, error: KafkaError | None, message: Message
) -> None:
    why = error.str() if error else None
    place = letter.topic, message.partition(), message.offset()
    answers[letter.dead_letter_id] = DeliveryReport(letter.dead_letter_id, *place, why, letter.parks)
