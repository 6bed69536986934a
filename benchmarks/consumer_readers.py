"""One reader per client library, behind one interface: records by partition, and no more of a full one."""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol, cast

import aiokafka
from aiokafka.structs import TopicPartition as AiokafkaPartition
from confluent_kafka import Consumer, Message, TopicPartition

from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.worker.consumer import MAX_POLL_RECORDS, RESPONSE_BYTES, new_consumer
from keepstream.app.worker.consumer_thread import FETCH_BYTES, ConsumerThread
from keepstream.schemas.record import Record

WAIT_S = 0.02
BYTES_RECEIVED = slice(128, 136)
"""Of Linux's struct tcp_info: tcpi_bytes_received."""


@dataclass(frozen=True)
class Plan:
    """What a reader is told. ``config`` are settings of librdkafka beside those that compare with the worker's."""

    client: str
    bootstrap_servers: str
    topic: str
    partitions: int
    config: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    group: str = ""
    """Of a member; a reader without one takes all partitions from their start."""
    records: bool = True
    """Whether messages of librdkafka become records; without, what no transport on it can be faster than."""


class Reader(Protocol):
    """Reads a topic. ``errors`` are those that the client reported, by partition."""

    errors: dict[int, list[str]]

    async def open(self) -> None: ...
    async def read(self, partitions: set[int]) -> Mapping[int, Sequence[Record]]:
        """Return what is there of these partitions, waiting a moment for it."""

    async def close(self) -> None: ...


def reader(plan: Plan) -> Reader:
    return AiokafkaReader(plan) if plan.client == "aiokafka" else LibrdkafkaReader(plan)


class _SeekToEnd(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """Stands for the start offsets: one question to the brokers. The worker asks PostgreSQL as well."""

    def __init__(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Any) -> None: ...

    async def on_partitions_assigned(self, assigned: Any) -> None:
        if assigned:
            await self._consumer.seek_to_end(*assigned)


class AiokafkaReader:
    """aiokafka as the worker drives it: its consumer and settings, its patches, its fetch in small portions."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.errors: dict[int, list[str]] = defaultdict(list)

    async def open(self) -> None:
        plan = self._plan
        settings = KafkaSettings(
            bootstrap_servers=plan.bootstrap_servers, topic=plan.topic, group_id=plan.group or f"read-{os.getpid()}"
        )
        self._consumer = new_consumer(settings)
        self._thread = ConsumerThread.__new__(ConsumerThread)  # its own start would need a Faust app
        self._thread._epochs, self._thread._record_bytes = {}, 1024 * 1024  # noqa: SLF001
        self._thread._consumer = self._consumer  # noqa: SLF001
        self._thread.consumer = cast("Any", SimpleNamespace(flow_active=True))
        if plan.group:
            self._consumer.subscribe([plan.topic], listener=_SeekToEnd(self._consumer))
            await self._consumer.start()
        else:
            await self._consumer.start()
            self._consumer.assign([self._named(partition) for partition in range(plan.partitions)])
            for partition in range(plan.partitions):
                self._consumer.seek(self._named(partition), 0)

    def _named(self, partition: int) -> AiokafkaPartition:
        return AiokafkaPartition(self._plan.topic, partition)

    async def read(self, partitions: set[int]) -> Mapping[int, Sequence[Record]]:
        found = await self._thread._fetch_in_thread({self._named(p) for p in partitions}, WAIT_S)  # noqa: SLF001
        for tp, fetched in found.items():
            if fetched.error:
                self.errors[tp.partition].append(repr(fetched.error))
        return {tp.partition: fetched.records for tp, fetched in found.items() if fetched.records}

    async def close(self) -> None:
        await self._consumer.stop()


class MessageRecord(NamedTuple):
    """A message as the pipeline reads records: the cheapest such object that we know."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def record_of(message: Message) -> MessageRecord:
    given: Any = message  # its types allow for what only errors and unread headers have
    return MessageRecord(
        given.topic(), given.partition(), given.offset(), given.timestamp()[1], given.key(), given.value(),
        given.headers() or (),
    )  # fmt: skip


class LibrdkafkaReader:
    """confluent-kafka, as its documentation has it: `consume` of many messages, `pause` of a full partition."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._paused: set[int] = set()
        self.errors: dict[int, list[str]] = defaultdict(list)

    async def open(self) -> None:
        plan = self._plan
        self._consumer = Consumer({
            "bootstrap.servers": plan.bootstrap_servers, "group.id": plan.group or f"read-{os.getpid()}",
            "auto.offset.reset": "latest", "enable.auto.commit": False, "isolation.level": "read_committed",
            "fetch.max.bytes": RESPONSE_BYTES, "queued.max.messages.kbytes": RESPONSE_BYTES // 1024,
            "log_level": 2, **plan.config,
        })  # fmt: skip
        if plan.group:
            self._consumer.subscribe([plan.topic])
        else:
            self._consumer.assign([TopicPartition(plan.topic, p, 0) for p in range(plan.partitions)])

    async def read(self, partitions: set[int]) -> Mapping[int, Sequence[Record]]:
        if not self._plan.group:
            self._leave_out(set(range(self._plan.partitions)) - partitions)
        first = self._consumer.poll(WAIT_S)  # `consume` alone waits until it has as many as it was asked for
        if first is None:
            return {}
        found: dict[int, list[Record]] = defaultdict(list)
        wanted = min(MAX_POLL_RECORDS, FETCH_BYTES // max(1, len(first)))
        for message in [first, *self._consumer.consume(wanted, 0)]:
            if error := message.error():
                self.errors[message.partition() or 0].append(f"{error.name()} at offset {message.offset()}")
            else:
                found[message.partition() or 0].append(record_of(message) if self._plan.records else message)  # type: ignore[arg-type]
        return found

    def _leave_out(self, full: set[int]) -> None:
        topic = self._plan.topic
        if resumed := self._paused - full:
            self._consumer.resume([TopicPartition(topic, partition) for partition in resumed])
        if paused := full - self._paused:
            self._consumer.pause([TopicPartition(topic, partition) for partition in paused])
        self._paused = full

    async def close(self) -> None:
        self._consumer.close()


def received_bytes() -> int:
    """Return what came in over all open TCP connections of this process, whichever library has them."""
    total = 0
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - of descriptors that close meanwhile
        try:
            copy = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with copy:
            if copy.type == socket.SOCK_STREAM and copy.family in {socket.AF_INET, socket.AF_INET6}:
                info = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                total += int.from_bytes(info[BYTES_RECEIVED], "little")
    return total
