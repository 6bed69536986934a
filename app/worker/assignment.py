"""What this worker owns: beginning lanes at the stored offsets, giving them up, committing what is settled."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiokafka.structs

from keepstream.app.config.settings import KafkaSettings
from keepstream.app.process.exit import critical_task, die
from keepstream.app.telemetry.logging import CURRENT_BATCH
from keepstream.app.worker.consumer_thread import ConsumerThread
from keepstream.app.worker.instrumentation import LoggingMetrics
from keepstream.app.worker.start_offsets import StartOffsetResolver
from keepstream.processors.dispatcher import Dispatcher
from keepstream.processors.partition_queue import Batch
from keepstream.schemas.committed_offset import CommittedOffset
from keepstream.schemas.failure import Failure, Step, Verdict
from keepstream.schemas.record import Record, TopicPartition
from keepstream.sinks.postgres.offsets import PostgresOffsets
from keepstream.sinks.prometheus.metrics import PrometheusMetrics

LIMIT = 5
"""A worker that slept, or whose coordinator moved, is put out once."""
WITHIN_S = 60.0


@dataclass(slots=True)
class DuplicateInstanceDetector:
    """Told our member id at each revocation; knows when it was taken from us too often."""

    name: str | None
    _lost_at: deque[float] = field(default_factory=lambda: deque(maxlen=LIMIT))

    def trouble(self, member_id: str, now: float | None = None) -> str | None:
        """Return what is wrong once our member id was taken too often: it is empty then.

        Asked before we join again: so the other one is left alone, and only one of the two has to end.
        """
        if self.name is None or member_id:
            return None
        now = time.monotonic() if now is None else now
        self._lost_at.append(now)
        if len(self._lost_at) < LIMIT or now - self._lost_at[0] > WITHIN_S:
            return None
        return (f"another worker goes by the group_instance_id {self.name!r}: it put this one out of the group "
                f"{LIMIT} times in {now - self._lost_at[0]:.0f} s; give each a KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID of "
                "its own")  # fmt: skip


log = logging.getLogger(__name__)


class Assignment:
    """Knows the lanes and moves them with Faust's rebalances. Lives on the worker's event loop."""

    def __init__(
        self, lanes: Dispatcher, offsets: PostgresOffsets, metrics: PrometheusMetrics, settings: KafkaSettings
    ) -> None:
        self.lanes = lanes
        self.thread: ConsumerThread | None = None
        self._beginnings = StartOffsetResolver(offsets, metrics, settings)
        self._metrics = metrics
        self._journal = LoggingMetrics(metrics)
        self._settings = settings
        self._namesake = DuplicateInstanceDetector(settings.group_instance_id)
        self._known_to_kafka: dict[TopicPartition, CommittedOffset] = {}
        self._beginning: asyncio.Task[None] | None = None
        self._waiting: set[TopicPartition] = set()
        self._answered = False

    def narrow(self, tps: Iterable[Any]) -> None:
        """Give up every partition that is not among these: the group's answer, which may be none at all.

        A batch that is fenced while the group decides has begun its partition again, as if it were ours still.
        """
        ours = {TopicPartition(tp.topic, tp.partition) for tp in tps}
        for place in {*self.lanes.places, *self._waiting} - ours:
            self._give_up(place)
        self._metrics.assigned.set(len(self.lanes.places))
        self._answered |= not ours

    def begin(self, tps: Iterable[Any]) -> None:
        """Begin lanes for these partitions in the background, however long PostgreSQL takes to answer."""
        places = {TopicPartition(tp.topic, tp.partition) for tp in tps}
        self.lanes.close(places)
        self._waiting |= places
        if self._beginning is not None:
            self._beginning.cancel()
        self._beginning = critical_task(self._begin(), "begin lanes")

    def revoke(self, tps: Iterable[Any]) -> None:
        """Give partitions up; what is not settled there is abandoned."""
        if trouble := self._namesake.trouble(self._consumer_thread().member_id):
            die(trouble)
        for tp in tps:
            self._give_up(TopicPartition(tp.topic, tp.partition))
        self._metrics.assigned.set(len(self.lanes.places))

    def _give_up(self, place: TopicPartition) -> None:
        self.lanes.close([place])
        self._waiting.discard(place)
        self._known_to_kafka.pop(place, None)
        self._metrics.partition_gone(*place)

    def close(self) -> None:
        """Give everything up: the worker ends."""
        if self._beginning is not None:
            self._beginning.cancel()
        self.lanes.close(self.lanes.places)

    def deliver(self, tp: Any, epoch: int, records: Sequence[Record]) -> Batch | None:  # noqa: ANN401
        lane = self.lanes.of_epoch(TopicPartition(tp.topic, tp.partition), epoch)
        return lane.deliver(records) if lane else None

    def read_to(self, tp: Any, epoch: int, position: int) -> None:  # noqa: ANN401
        if lane := self.lanes.of_epoch(TopicPartition(tp.topic, tp.partition), epoch):
            lane.read_to(position)

    def cannot_read(self, tp: Any, epoch: int, trouble: Exception) -> None:  # noqa: ANN401
        """Show a partition as held whose next batch does not unpack; said again when a lane's own hold has ended."""
        place = TopicPartition(tp.topic, tp.partition)
        if self.lanes.of_epoch(place, epoch) and place not in self._metrics.pauses:
            why = f"the next batch does not unpack within {self._settings.unpack_max_bytes} bytes ({trouble})"
            self._journal.paused(*place, Failure(Step.VALIDATE, Verdict.SYSTEMIC, "unreadable_batch", why))

    def uncommitted(self) -> dict[TopicPartition, CommittedOffset]:
        """Return what Kafka does not know yet."""
        settled = self.lanes.settled()
        offsets = {
            place: CommittedOffset(offset, self._beginnings.began_at[place]) for place, offset in settled.items()
        }
        return {place: offset for place, offset in offsets.items() if self._known_to_kafka.get(place) != offset}

    def committed(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        self._known_to_kafka.update(offsets)

    def commit_failed(self, error: BaseException) -> None:
        self._metrics.commit_failures.inc()
        log.warning(
            "offsets were not committed to Kafka (nothing is lost, lag tools look behind; tried again): %r", error
        )

    def lags(self) -> Iterator[tuple[str, int, int]]:
        """Yield (topic, partition, records still to settle) for every lane whose end is known."""
        for place, settled in self.lanes.settled().items():
            end = self._consumer_thread().end_offset(_tp(place))
            if end is not None and end >= 0:
                yield *place, max(0, end - settled)

    async def fenced(self, place: TopicPartition) -> None:
        """Begin again from what is stored: it is not where the lane left it."""
        self._journal.fenced(*place)
        self.begin([_tp(place)])

    @property
    def ready(self) -> bool:
        """Whether every assigned partition has its lane. A worker whom the group gave none is ready to take over."""
        return self._answered and not self._waiting

    async def _begin(self) -> None:
        CURRENT_BATCH.set(None)  # a fenced batch may have begun this
        thread = self._consumer_thread()
        starts = await self._beginnings.starts(thread, sorted(self._waiting))
        if self._beginning is not asyncio.current_task():
            return  # overtaken: psycopg can turn a cancellation into a lost connection, which `starts` outlives
        # One may be given up since.
        owned = self._waiting & {TopicPartition(tp.topic, tp.partition) for tp in thread.assignment()}
        starts = {place: start for place, start in starts.items() if place in owned}
        epoch = self.lanes.open({place: start.fence for place, start in starts.items()})
        await thread.seek_all({_tp(place): start.offset for place, start in starts.items()}, epoch)
        self._waiting.clear()
        self._answered = True
        self._metrics.rebalances.inc()
        self._metrics.assigned.set(len(self.lanes.places))
        log.info("reading %d partitions", len(self.lanes.places))

    def _consumer_thread(self) -> ConsumerThread:
        if self.thread is None:
            raise RuntimeError("the consumer thread has not started")
        return self.thread


def _tp(place: TopicPartition) -> Any:  # noqa: ANN401
    return aiokafka.structs.TopicPartition(*place)
