"""Kafka's answers about topics: partitions, watermarks, ids, configuration, committed offsets; and their creation."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from typing import Any

import confluent_kafka
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.admin._metadata import TopicMetadata
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from keepstream.schemas.header_names import KNOWN, HeaderNames
from keepstream.schemas.record import TopicPartition

log = logging.getLogger(__name__)
Range = tuple[int, int]
"""The first offset of a partition, and the offset after the last: half open."""
DEAD_LETTER_TOPIC_CONFIG = {
    "retention.ms": "-1", "max.message.bytes": str(2 * 1024 * 1024), "message.timestamp.type": "LogAppendTime",
}  # fmt: skip
"""Dead letters are kept until they are purged. One is its record plus our headers: twice the broker's default of 1 MiB
takes every record that the source topic took. The broker dates them: by a worker whose clock is wrong, it would refuse
them."""
ELECTING = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
"""Passing answers about a partition whose leader moves, or that was just created; the client gives them too for
a leader that it cannot reach."""
OLDEST_TIMEOUT_S = 3.0
CHANGE_TIMEOUT_S = 60.0
"""How long topics may take to be created, and records to be deleted, on every replica."""
_NO_TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""The id of zeros that a broker older than topic ids returns."""


class TopicMissingError(KafkaException):
    """The cluster has no such topic, or does not show it to this user."""

    def __init__(self, topic: str) -> None:
        super().__init__(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"there is no topic {topic!r}"))
        self.topic = topic


class KafkaAdmin:
    """One admin client, made at the first question and kept: to connect takes longer than to ask.

    ``config`` are librdkafka's settings, without its own log: for this client, and for the consumers and producers
    that work on the same topics. ``header_names`` are for those that read dead letters. Every method blocks, at most
    about ``timeout_s``, and raises KafkaException when the cluster does not answer. Threads may share it.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        timeout_s: float = 10.0,
        error_cb: Callable[[KafkaError], None] | None = None,
        header_names: HeaderNames = KNOWN,
    ) -> None:
        self.config = {"log_level": 0, **config}
        self.timeout_s = timeout_s
        self.header_names = header_names
        self._error_cb = error_cb

    @cached_property
    def _client(self) -> AdminClient:
        return AdminClient(self.config | ({"error_cb": self._error_cb} if self._error_cb else {}))

    def connect(self) -> None:
        """Make the client, without waiting for a broker. Raises KafkaException when its settings are of no use."""
        self._client  # noqa: B018 - made here

    def brokers(self, timeout_s: float | None = None) -> dict[int, tuple[str, int]]:
        """Return host and port that each broker advertises, by its id: the cluster answers."""
        found = self._client.list_topics(timeout=timeout_s or self.timeout_s).brokers
        return {broker.id: (str(broker.host), broker.port) for broker in found.values()}

    def report_errors(self) -> None:
        """Call the configured ``error_cb`` with the errors since the last call."""
        if "_client" in self.__dict__:
            self._client.poll(0)

    def partitions(self, topic: str) -> list[int]:
        """Return the partition numbers of a topic. Raises TopicMissingError."""
        return sorted(self._metadata(topic).partitions)

    def leaderless(self, topic: str) -> list[int]:
        """Return the partitions of a topic that no broker leads. Raises TopicMissingError."""
        return sorted(p for p, found in self._metadata(topic).partitions.items() if found.leader < 0)

    def watermarks(self, topic: str, partitions: Iterable[int] | None = None) -> dict[int, Range]:
        """Return the first offset and the end of what is committed, by partition. Raises TopicMissingError."""
        chosen = self.partitions(topic) if partitions is None else sorted(set(partitions))
        asked = [TopicPartition(topic, partition) for partition in chosen]
        starts, ends = self._offsets(asked, OffsetSpec.earliest()), self.ends(asked)  # type: ignore[no-untyped-call]
        return {at.partition: (starts[at], ends[at]) for at in asked}

    def ends(self, partitions: Collection[TopicPartition], *, committed: bool = True) -> dict[TopicPartition, int]:
        """Return the end of what is committed (the last stable offset) by partition, or the high watermark."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        return self._offsets(partitions, OffsetSpec.latest(), level)  # type: ignore[no-untyped-call]

    def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the ids of topics: a name may be deleted and given again, an id never (KIP-516).

        Only the cluster's controller knows them. An id that is not known now (an election, librdkafka's mock broker, no
        token to log in with) is left out, with a line at level debug: a worker asks every few seconds.
        """
        try:
            asked = self._client.describe_topics(TopicCollection([*topics]), request_timeout=self.timeout_s)
        except KafkaException as error:
            log.debug("the ids of the topics are not known now: %s", error.args[0].str())
            return {}
        found = {}
        for topic, answer in asked.items():
            try:
                found[topic] = str(answer.result().topic_id)
            except KafkaException as error:
                log.debug("the id of topic %s is not known now: %s", topic, error.args[0].name())
        return {topic: topic_id for topic, topic_id in found.items() if topic_id != _NO_TOPIC_ID}

    def topic_config(self, topic: str) -> dict[str, str]:
        """Return a topic's configuration by name. Raises KafkaException too without the right to read it."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        entries = self._client.describe_configs([resource], request_timeout=self.timeout_s)[resource].result()
        return {name: entry.value for name, entry in entries.items()}

    def create_topic(self, topic: str, partitions: int, replication: int, config: Mapping[str, str]) -> bool:
        """Create a topic; return False when it exists."""
        new = NewTopic(topic, partitions, replication, config=dict(config))
        try:
            self._client.create_topics([new], request_timeout=CHANGE_TIMEOUT_S)[topic].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise
        return True

    def delete_records(self, topic: str, before: Mapping[int, int]) -> dict[int, int]:
        """Delete the records of each partition before an offset; return the first offset that is left."""
        asked = [confluent_kafka.TopicPartition(topic, partition, offset) for partition, offset in before.items()]
        answers = self._client.delete_records(asked, request_timeout=CHANGE_TIMEOUT_S)
        return {at.partition: answer.result().low_watermark for at, answer in answers.items()}

    def committed_offsets(self, group_id: str, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return the offsets that a consumer group committed, by partition.

        Asked as a consumer, which joins no group: list_consumer_group_offsets can crash the process on a broker that
        just started (a segmentation fault in confluent-kafka 2.16.1, librdkafka #5040).
        """
        consumer = Consumer({**self.config, "group.id": group_id})
        asked = [confluent_kafka.TopicPartition(topic, partition) for partition in partitions]
        try:
            return {at.partition: at.offset for at in consumer.committed(asked, self.timeout_s) if at.offset >= 0}
        finally:
            consumer.close()

    def _metadata(self, topic: str) -> TopicMetadata:
        self._client.poll(0)  # or errors would fill the queue of a client that lives long
        found = self._client.list_topics(topic, timeout=self.timeout_s).topics.get(topic)
        if found is None or found.error is not None:
            raise TopicMissingError(topic)
        return found

    def _offsets(
        self,
        partitions: Collection[TopicPartition],
        spec: OffsetSpec,
        level: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[TopicPartition, int]:
        deadline = time.monotonic() + self.timeout_s
        while True:
            try:
                return self._list_offsets(partitions, spec, level)
            except KafkaException as error:
                if error.args[0].code() not in ELECTING or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _list_offsets(
        self, partitions: Collection[TopicPartition], spec: OffsetSpec, level: IsolationLevel
    ) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        asked = {confluent_kafka.TopicPartition(*at): spec for at in partitions}
        answers = self._client.list_offsets(asked, isolation_level=level, request_timeout=self.timeout_s)
        return {TopicPartition(at.topic, at.partition): answer.result().offset for at, answer in answers.items()}


def oldest_unsettled_timestamp(
    config: Mapping[str, Any], group_id: str, topic: str, positions: Mapping[int, int]
) -> float | None:
    """Return the smallest Kafka timestamp, Unix seconds, of the records at these offsets; one per lagging partition.

    None when there is none, or when not every partition answered in time: the oldest might be theirs. Commits nothing.
    """
    if not positions:
        return None
    consumer = Consumer({
        **config, "group.id": group_id, "enable.auto.commit": False, "isolation.level": "read_committed",
        "auto.offset.reset": "earliest", "queued.min.messages": 1,
        "max.partition.fetch.bytes": 1024,  # a broker gives one batch all the same
    })  # fmt: skip
    try:
        consumer.assign(
            [confluent_kafka.TopicPartition(topic, partition, offset) for partition, offset in positions.items()]
        )
        return _first_of_each(consumer, topic, set(positions))
    except KafkaException:
        return None
    finally:
        consumer.close()


def _first_of_each(consumer: Consumer, topic: str, waited_for: set[int]) -> float | None:
    oldest_ms: list[int] = []
    deadline = time.monotonic() + OLDEST_TIMEOUT_S
    while waited_for and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is None or message.error():
            continue
        partition = message.partition()
        if partition in waited_for:
            waited_for.discard(partition)
            oldest_ms.append(message.timestamp()[1])
            consumer.incremental_unassign([confluent_kafka.TopicPartition(topic, partition)])
    return min(oldest_ms) / 1000 if oldest_ms and not waited_for else None
