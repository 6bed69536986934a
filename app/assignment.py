"""What this worker owns: beginning lanes at the stored offsets, giving them up, committing what is settled."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from psycopg_pool import PoolTimeout

from app.fatal import die, vital_task
from app.journal import Journal
from app.logs import CURRENT_BATCH
from app.namesake import Namesake
from processors.start import StartReason, decide_start
from schemas.failure import Failure, Step, Verdict
from schemas.group_offset import GroupOffset

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from app.consumer import ConsumerThread, LogBounds
    from app.settings import KafkaSettings
    from processors.dispatch import Lanes, Place
    from processors.lanes import Batch
    from processors.start import Start
    from schemas.record import Record
    from sinks.metrics import PrometheusMetrics
    from sinks.postgres.offsets import PostgresOffsets, StoredOffset

log = logging.getLogger(__name__)
T = TypeVar("T")
RETRY_WAIT_S = 1.0
NOT_MIGRATED = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)


class Assignment:
    """Knows the lanes and moves them with Faust's rebalances. Lives on the worker's event loop."""

    def __init__(
        self, lanes: Lanes, offsets: PostgresOffsets, metrics: PrometheusMetrics, settings: KafkaSettings
    ) -> None:
        self.lanes = lanes
        self.thread: ConsumerThread | None = None
        self._offsets = offsets
        self._metrics = metrics
        self._journal = Journal(metrics)
        self._settings = settings
        self._namesake = Namesake(settings.group_instance_id)
        self._known_to_kafka: dict[Place, GroupOffset] = {}
        self._began_at: dict[Place, int] = {}
        self._beginning: asyncio.Task[None] | None = None
        self._waiting: set[Place] = set()
        self._assigned_once = False

    def assign(self, tps: Iterable[Any]) -> None:
        """Begin lanes for what the group gave us, and give up any other partition.

        A batch that is fenced while the group decides has begun its partition again, as if it were ours still.
        """
        ours = {(tp.topic, tp.partition): tp for tp in tps}
        for place in {*self.lanes.places, *self._waiting} - {*ours}:
            self._give_up(place)
        self.begin(ours.values())

    def begin(self, tps: Iterable[Any]) -> None:
        """Begin lanes for these partitions in the background, however long PostgreSQL takes to answer."""
        places = {(tp.topic, tp.partition) for tp in tps}
        self.lanes.close(places)
        self._waiting |= places
        if self._beginning is not None:
            self._beginning.cancel()
        self._beginning = vital_task(self._begin(), "begin lanes")

    def revoke(self, tps: Iterable[Any]) -> None:
        """Give partitions up; what is not settled there is abandoned."""
        if trouble := self._namesake.trouble(self._consumer_thread().member_id):
            die(trouble)
        for tp in tps:
            self._give_up((tp.topic, tp.partition))
        self._metrics.assigned.set(len(self.lanes.places))

    def _give_up(self, place: Place) -> None:
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
        lane = self.lanes.of_epoch((tp.topic, tp.partition), epoch)
        return lane.deliver(records) if lane else None

    def read_to(self, tp: Any, epoch: int, position: int) -> None:  # noqa: ANN401
        if lane := self.lanes.of_epoch((tp.topic, tp.partition), epoch):
            lane.read_to(position)

    def cannot_read(self, tp: Any, epoch: int, trouble: Exception) -> None:  # noqa: ANN401
        """Show a partition as held whose next batch does not unpack; said again when a lane's own hold has ended."""
        place = (tp.topic, tp.partition)
        if self.lanes.of_epoch(place, epoch) and place not in self._metrics.pauses:
            why = f"the next batch does not unpack within {self._settings.unpack_max_bytes} bytes ({trouble})"
            self._journal.paused(*place, Failure(Step.VALIDATE, Verdict.SYSTEMIC, "unreadable_batch", why))

    def uncommitted(self) -> dict[Place, GroupOffset]:
        """Return what Kafka does not know yet."""
        settled = self.lanes.settled()
        offsets = {place: GroupOffset(offset, self._began_at[place]) for place, offset in settled.items()}
        return {place: offset for place, offset in offsets.items() if self._known_to_kafka.get(place) != offset}

    def committed(self, offsets: Mapping[Place, GroupOffset]) -> None:
        self._known_to_kafka.update(offsets)

    def commit_failed(self, error: BaseException) -> None:
        self._metrics.commit_failures.inc()
        log.warning("offsets were not committed to Kafka (lag tools look behind, nothing is lost): %r", error)

    def lags(self) -> Iterator[tuple[str, int, int]]:
        """Yield (topic, partition, records still to settle) for every lane whose end is known."""
        for (topic, partition), settled in self.lanes.settled().items():
            end = self._consumer_thread().end_offset(_tp((topic, partition)))
            if end is not None and end >= 0:
                yield topic, partition, max(0, end - settled)

    async def fenced(self, place: Place) -> None:
        """Another worker moved this partition: begin again from what is stored."""
        self._journal.fenced(*place)
        self.begin([_tp(place)])

    @property
    def ready(self) -> bool:
        """Whether every assigned partition has its lane."""
        return self._assigned_once and not self._waiting

    async def _begin(self) -> None:
        CURRENT_BATCH.set(None)  # a fenced batch may have begun this
        starts = await self._starts(sorted(self._waiting))
        if self._beginning is not asyncio.current_task():
            return  # overtaken: psycopg can turn a cancellation into a lost connection, which `_starts` outlives
        thread = self._consumer_thread()
        owned = {(tp.topic, tp.partition) for tp in thread.assignment()}
        starts = {place: start for place, start in starts.items() if place in owned}
        epoch = self.lanes.open({place: start.fence for place, start in starts.items()})
        await thread.seek_all({_tp(place): start.offset for place, start in starts.items()}, epoch)
        self._waiting.clear()
        self._assigned_once = True
        self._metrics.rebalances.inc()
        self._metrics.assigned.set(len(self.lanes.places))
        log.info("reading %d partitions", len(self.lanes.places))

    async def _starts(self, places: Sequence[Place]) -> dict[Place, Start]:
        while True:
            try:
                return await self._decide(places)
            except (psycopg.Error, PoolTimeout, KafkaError) as error:
                hint = "; run `keepstream db migrate`" if isinstance(error, NOT_MIGRATED) else ""
                log.warning("the stored offsets cannot be read yet (%s)%s", type(error).__name__, hint)
                await asyncio.sleep(RETRY_WAIT_S)

    async def _decide(self, places: Sequence[Place]) -> dict[Place, Start]:
        # What is stored comes first: the former owner may still be at work, and an end of the log that was read before
        # it settled more would make the topic look re-created.
        stored: dict[Place, StoredOffset] = {}
        known_ids: dict[Place, str] = {}
        for topic in {topic for topic, _ in places}:
            partitions = [partition for t, partition in places if t == topic]
            stored |= _placed(topic, await self._offsets.load(topic, partitions))
            known_ids |= _placed(topic, await self._offsets.load_topic_ids(topic, partitions))
        bounds = await self._consumer_thread().log_bounds([_tp(place) for place in places])
        starts = {}
        for place in places:
            topic_id, known_id = bounds.topic_ids.get(place[0]), known_ids.get(place)
            is_other_topic = topic_id is not None and known_id is not None and known_id != topic_id
            start = self._start_of(place, stored.get(place), bounds, is_other_topic=is_other_topic)
            await self._record(place, start, stored.get(place))
            if topic_id is not None and topic_id != known_id:
                await self._offsets.identify(*place, topic_id)
            starts[place] = start
        return starts

    def _start_of(self, place: Place, stored: StoredOffset | None, bounds: LogBounds, *, is_other_topic: bool) -> Start:
        tp = _tp(place)
        start = decide_start(
            stored.next_offset if stored else None, bounds.committed.get(tp), bounds.starts[tp], bounds.ends[tp],
            is_other_topic=is_other_topic, reset_to_end=self._settings.auto_offset_reset == "latest",
        )  # fmt: skip
        goes_on = stored is not None and start.reason is not StartReason.RECREATED
        self._began_at[place] = stored.first_offset if stored and goes_on else start.fence
        return start

    async def _record(self, place: Place, start: Start, at: StoredOffset | None) -> None:
        """Make the table agree with the decision, and say aloud what is not ordinary."""
        stored = at.next_offset if at else None
        if start.reason in (StartReason.GAP, StartReason.RECREATED) and self._settings.on_gap == "stop":
            die(f"{place[0]}-{place[1]} no longer holds the stored offset {stored}, but begins at {start.offset} "
                f"({start.reason}); KEEPSTREAM_KAFKA__ON_GAP=continue reads what is left")  # fmt: skip
        if stored is None:
            if start.reason is StartReason.FORGOTTEN:
                log.error("%s-%d was consumed, as the group's offset in Kafka says, but PostgreSQL knows nothing of it "
                          "(failover, backup, another database?); reading it from %d, where it began", *place,
                          start.offset)  # fmt: skip
            await self._offsets.open(*place, start.fence)
        elif start.reason is StartReason.RECREATED:
            log.error("%s-%d was re-created or truncated, the stored offset %d is not of this log; reading it from its "
                      "start, known events count as duplicates", *place, stored)  # fmt: skip
            await self._offsets.rewind(*place, expected_offset=stored, next_offset=start.fence)
        elif start.reason is StartReason.GAP:
            log.error("%s-%d: retention deleted %d records before they were read", *place, start.lost)
            self._metrics.offset_gaps.labels(place[0]).inc(start.lost)

    def _consumer_thread(self) -> ConsumerThread:
        if self.thread is None:
            raise RuntimeError("the consumer thread has not started")
        return self.thread


def _placed(topic: str, by_partition: Mapping[int, T]) -> dict[Place, T]:
    return {(topic, partition): value for partition, value in by_partition.items()}


def _tp(place: Place) -> Any:  # noqa: ANN401
    return TopicPartition(*place)
