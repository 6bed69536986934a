"""A database and a dead letter topic, as a worker meets them: over a network, on bad days."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import psycopg

from keepstream.app.testing.memory import MemoryDeadLetters, MemoryStore
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import FencedError, Step, StepError, SystemicError, TransientError, Verdict
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Publication, Settlement
from keepstream.schemas.record import Incarnation, KafkaRecord, record_id
from keepstream.sinks.postgres.offsets import StoredOffset
from tests.builders import make_failure
from tests.simulation.faults import Fault, Faults
from tests.simulation.loop import SimulationLoop, current_process
from tests.unit.pipeline_fixture import dlq_unavailable, too_slow

T = TypeVar("T")
UNAVAILABLE = Publication(failure=dlq_unavailable().failure)
REFUSALS = (StepError, FencedError, psycopg.Error)
QUICK_S, SLOW_S, HANGING_S = 0.02, 15.0, 10.0
"""The longest that a call takes; of a server that hangs the product takes no answer after about `HANGING_S`."""


@dataclass(slots=True)
class Network:
    """Carries calls to servers that do not stop working because their client died."""

    loop: SimulationLoop
    rng: random.Random
    faults: Faults

    async def ask(
        self, effect: Callable[[], T], *, up_to_s: float = QUICK_S, lie: Callable[[], Exception | None] = lambda: None
    ) -> T:
        """Have something done at the other end; a lie is what the client hears although it was done."""
        reply: asyncio.Future[T] = self.loop.create_future()
        client = current_process()

        def is_gone() -> bool:
            return reply.done() or (client is not None and client.is_dead)

        self.loop.serve(self._serve(effect, reply, lie, up_to_s, is_gone))
        return await reply

    async def _serve(
        self,
        effect: Callable[[], T],
        reply: asyncio.Future[T],
        lie: Callable[[], Exception | None],
        up_to_s: float,
        is_gone: Callable[[], bool],
    ) -> None:
        await asyncio.sleep(self.rng.random() * up_to_s)
        result, refusal = self._done(effect, lie)
        if refusal is None and is_gone():
            self.faults.happened(Fault.GHOST)
        if self.rng.random() < 0.5:
            await asyncio.sleep(self.rng.random() * 0.02)
        if is_gone():
            return
        if refusal is None:
            reply.set_result(result)
        else:
            reply.set_exception(refusal)

    def _done(self, effect: Callable[[], T], lie: Callable[[], Exception | None]) -> tuple[Any, Exception | None]:
        try:
            result = effect()
            self.loop.tell(f"server: {result}")
            return result, lie()
        except REFUSALS as refusal:
            self.loop.tell(f"server refuses: {refusal!r}")
            return None, refusal


def finished(work: Awaitable[T]) -> T:
    """Take the result of a fake that never waits."""
    step: Any = work.__await__()
    try:
        next(step)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    raise RuntimeError("a fake waited")


@dataclass(slots=True)
class Database:
    """`EventStore` and `PostgresOffsets` over a network, in front of the one store of a topic."""

    network: Network
    memory: MemoryStore
    committed: Callable[[Settlement], None]
    """Told of every settlement that was committed."""
    is_away: bool = False
    """Whether it does not work for a while."""
    is_stopped: bool = False
    """Whether it does not work until it is started again."""
    hangs: bool = False
    """Whether it refuses calls late while it is stopped, and not at once."""
    restarts: int = 0
    """How often it went back to an earlier moment: no transaction that was under way outlives that."""
    overloaded_to_s: float = 0.0
    skipped_in_gaps: int = 0
    """Offsets that were passed because retention had deleted them, over all partitions."""

    async def settle(self, settlement: Settlement) -> OutcomeCounts:
        self.network.loop.tell(f"settle {settlement.offset_range}, {len(settlement.dead_letters)} dead")
        return await self._write(Step.STORE, lambda: self._settled(settlement, self.memory.settle(settlement)))

    async def settle_by_steps(
        self, offset_range: BatchRange, event: ValidEvent, done: Callable[[Step], None] = lambda _step: None
    ) -> OutcomeCounts:
        self.network.loop.tell(f"settle {offset_range} by steps")
        step = self.network.rng.choice((Step.STORE, Step.METRICS))
        work = partial(self.memory.settle_by_steps, offset_range, event, done)
        return await self._write(step, lambda: self._settled(Settlement(offset_range, [event]), work()))

    async def load_outbox(self, topic: str, partition: int) -> Sequence[KafkaRecord]:
        return await self._write(Step.STORE, lambda: finished(self.memory.load(topic, partition)))

    async def remove(self, record_ids: Mapping[str, str | None]) -> None:
        confirmed = {**record_ids}
        await self._write(Step.STORE, lambda: finished(self.memory.remove(confirmed)))

    async def healthy(self) -> bool:
        """Answer once a statement does not time out any more."""
        await asyncio.sleep(max(0.0, self.overloaded_to_s - self.network.loop.time()))
        return await self.network.ask(lambda: not self._is_down(), up_to_s=self._longest_call_s())

    def stop(self, *, hangs: bool) -> None:
        self.is_stopped, self.hangs = True, hangs

    def start(self) -> None:
        self.is_stopped = self.hangs = False

    def _is_down(self) -> bool:
        return self.is_away or self.is_stopped

    def _longest_call_s(self) -> float:
        return HANGING_S if self.hangs else QUICK_S

    def overload(self, for_s: float) -> bool:
        """Let every statement time out for so long; once in a world, or a healthy probe would say nothing."""
        is_first = not self.overloaded_to_s
        if is_first:
            self.overloaded_to_s = self.network.loop.time() + for_s
        return is_first

    def _is_overloaded(self) -> bool:
        return self.network.loop.time() < self.overloaded_to_s

    def _settled(self, settlement: Settlement, work: Awaitable[OutcomeCounts]) -> OutcomeCounts:
        tally = finished(work)
        self.committed(settlement)
        return tally

    async def load(self, topic: str, partitions: Iterable[int]) -> dict[int, StoredOffset]:
        def stored() -> dict[int, StoredOffset]:
            offsets = self.memory.next_offsets
            return {
                p: StoredOffset(offsets[topic, p], 0, self._incarnation(topic, p))
                for p in partitions
                if (topic, p) in offsets
            }

        return await self._ask_offsets(stored)

    async def peek(self, topic: str) -> dict[int, tuple[int, int]]:
        def done() -> dict[int, tuple[int, int]]:
            offsets, outbox, incarnations = self.memory.next_offsets, self.memory.outbox, self.memory.incarnations
            return {
                p: (incarnations[t, p], min([offset, *(one.offset for one in outbox.get((t, p), {}).values())]))
                for (t, p), offset in offsets.items()
                if t == topic
            }

        return await self._ask_offsets(done)

    async def open(self, topic: str, partition: int, next_offset: int, topic_id: str) -> None:
        def insert() -> None:
            if (topic, partition) not in self.memory.next_offsets:
                self.memory.next_offsets[topic, partition] = next_offset
                self.memory.incarnations[topic, partition] = 0
                self.memory.topic_ids[topic, partition] = topic_id

        await self._ask_offsets(insert)

    def _incarnation(self, topic: str, partition: int) -> Incarnation:
        return Incarnation(self.memory.incarnations[topic, partition], self.memory.topic_ids.get((topic, partition)))

    async def skip_gap(
        self, topic: str, partition: int, known: Incarnation, expected_offset: int, next_offset: int
    ) -> bool:
        def skip() -> bool:
            offsets = self.memory.next_offsets
            if (offsets.get((topic, partition)), self._incarnation(topic, partition)) != (expected_offset, known):
                return False
            offsets[topic, partition] = next_offset
            self.skipped_in_gaps += next_offset - expected_offset
            return True

        return await self._ask_offsets(skip)

    async def rewind(self, topic: str, partition: int, known: Incarnation, next_offset: int, new_topic_id: str) -> bool:
        def go_back() -> bool:
            """As sql/rewind.sql."""
            is_there = self._incarnation(topic, partition) == known and (topic, partition) in self.memory.next_offsets
            if is_there:
                self.memory.next_offsets[topic, partition] = next_offset
                self.memory.incarnations[topic, partition] += 1
                self.memory.topic_ids[topic, partition] = new_topic_id
            return is_there

        return await self._ask_offsets(go_back)

    async def _ask_offsets(self, effect: Callable[[], T]) -> T:
        restarts = self.restarts

        def unless_away() -> T:
            if self._is_down() or restarts != self.restarts or self.network.faults.strikes(Fault.STORE_AWAY):
                raise psycopg.OperationalError
            return effect()

        return await self.network.ask(unless_away, up_to_s=self._longest_call_s())

    async def _write(self, step: Step, effect: Callable[[], T]) -> T:
        faults, restarts = self.network.faults, self.restarts

        def unless_refused() -> T:
            if self._is_down() or restarts != self.restarts or faults.strikes(Fault.STORE_AWAY):
                raise SystemicError(make_failure(step=step, verdict=Verdict.SYSTEMIC, reason="away"))
            if self._is_overloaded():
                raise TransientError(replace(too_slow().failure, step=step))
            if faults.strikes(Fault.STORE_FAILS):
                reason = self.network.rng.choice(("deadlock_detected", "connection_lost"))
                raise TransientError(make_failure(step=step, verdict=Verdict.TRANSIENT, reason=reason))
            return effect()

        up_to_s = SLOW_S if faults.strikes(Fault.STORE_SLOW) else self._longest_call_s()
        return await self.network.ask(unless_refused, up_to_s=up_to_s, lie=lambda: self._in_doubt(step))

    def _in_doubt(self, step: Step) -> StepError | None:
        if not self.network.faults.strikes(Fault.STORE_IN_DOUBT):
            return None
        if self.network.rng.random() < 0.5:
            return SystemicError(make_failure(step=step, verdict=Verdict.SYSTEMIC, reason="connection_lost"))
        return TransientError(make_failure(step=step, verdict=Verdict.TRANSIENT, reason="connection_lost"))


@dataclass(slots=True)
class DeadLetterTopic:
    """`DeadLetterQueue` over a network, in front of the one dead letter topic of a topic."""

    network: Network
    memory: MemoryDeadLetters
    appended: Callable[[KafkaRecord], None]
    """Called with each letter before the topic takes it."""

    async def publish(self, records: Sequence[KafkaRecord]) -> Publication:
        self.network.loop.tell(f"publish {[record_id(record) for record in records]}")
        faults = self.network.faults

        def append() -> Publication:
            if faults.strikes(Fault.DLQ_FAILS):
                return UNAVAILABLE
            if len(records) > 1 and faults.strikes(Fault.DLQ_PARTIAL):
                return Publication(self._published(records[:1]).record_ids, UNAVAILABLE.failure)
            publication = self._published(records)
            return UNAVAILABLE if faults.strikes(Fault.DLQ_UNCONFIRMED) else publication

        return await self.network.ask(append, up_to_s=SLOW_S if faults.strikes(Fault.DLQ_SLOW) else QUICK_S)

    def _published(self, records: Sequence[KafkaRecord]) -> Publication:
        for record in records:
            self.appended(record)
        return finished(self.memory.publish(records))


@dataclass(frozen=True, slots=True)
class Outbox:
    """`DeadLetterOutbox` in the database of a topic: its ``load`` is not that of the offsets."""

    database: Database

    async def load(self, topic: str, partition: int) -> Sequence[KafkaRecord]:
        return await self.database.load_outbox(topic, partition)

    async def remove(self, record_ids: Mapping[str, str | None]) -> None:
        await self.database.remove(record_ids)
