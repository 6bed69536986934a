"""The watchdog thread: ends a worker whose event loop stands still, and says where it stands."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import confluent_kafka
from confluent_kafka import IsolationLevel, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from prometheus_client import Counter

from keepstream.app.config.settings import KafkaSettings
from keepstream.app.connect.client_config import librdkafka_settings
from keepstream.app.process.exit import die
from keepstream.processors.dispatcher import Dispatcher
from keepstream.processors.ports import EventStore
from keepstream.schemas.record import TopicPartition
from keepstream.sinks.prometheus.metrics import PrometheusMetrics

TICK_S = 1.0
MAX_FRAMES = 12


class LoopWatchdog:
    """Counts its own ticks between two beats of the loop, and not the clock.

    So a process that was suspended as a whole (SIGSTOP, a sleeping machine) is not taken for a stuck one: its watchdog
    was suspended too. It cannot help where C code holds the interpreter lock; there ``/livez`` fails.
    """

    def __init__(self, limit_s: float, on_stuck: Callable[[str], None] = die, tick_s: float = TICK_S) -> None:
        self._limit_s = limit_s
        self._on_stuck = on_stuck
        self._tick_s = min(tick_s, limit_s / 4)
        self._beats = 0
        self._watched = threading.get_ident()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Watch the thread that made this object."""
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def beat(self) -> None:
        """Say that the loop turns. Called on the loop."""
        self._beats += 1

    def _watch(self) -> None:
        try:
            self._count_beats()
        except MemoryError:
            self._on_stuck("out of memory: the watchdog cannot watch")

    def _count_beats(self) -> None:
        seen, silent_s = -1, 0.0
        while not self._stopped.wait(self._tick_s):
            beats = self._beats
            silent_s = silent_s + self._tick_s if beats == seen else 0.0
            seen = beats
            if silent_s >= self._limit_s:
                where = stack_of_thread(self._watched)
                self._on_stuck(f"the event loop has not turned for {silent_s:.0f} s; it stands at {where}")
                return


def stack_of_thread(ident: int) -> str:
    """Return a thread's stack in one line, innermost frame first."""
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - documented, for debuggers
    frames = traceback.extract_stack(frame) if frame else []
    return one_line([(entry.filename, entry.lineno, entry.name) for entry in reversed(frames)])


def one_line(frames: list[tuple[str, int | None, str]]) -> str:
    """Write (file, line, function) as ``room/file.py:12 function < ...``."""
    told = [f"{'/'.join(Path(file).parts[-2:])}:{line} {name}" for file, line, name in frames[:MAX_FRAMES]]
    return " < ".join(told) or "nowhere"


CHECKS_PER_LIMIT = 4
ASK_TIMEOUT_S = 5.0


class Ends(Protocol):
    """Where the partitions end, asked of Kafka by another way than the consumer's."""

    async def of(self, places: Collection[TopicPartition]) -> Mapping[TopicPartition, int] | None:
        """Return the ends; None where Kafka does not answer for all of them."""
        ...


@dataclass(frozen=True, slots=True)
class _Behind:
    settled: int
    since_beat: int


@dataclass(slots=True)
class StallDetector:
    """Told once per second what is settled. What was seen behind and did not move for ``limit_s`` is stuck.

    Time is counted in beats: a worker that was suspended as a whole has not stood still. Not counted is a partition
    that is held, and nothing is while attempts fail and are tried again, or while Kafka or PostgreSQL do not answer.
    """

    limit_s: float
    ends: Ends
    store: EventStore
    lanes: Dispatcher
    metrics: PrometheusMetrics
    on_stuck: Callable[[str], None] = die
    _beats: int = 0
    _failures: float = 0
    _behind: dict[TopicPartition, _Behind] = field(default_factory=dict)
    _next_check: float = 0

    async def run(self) -> None:
        """Look once per second. On a task of its own: asking Kafka and PostgreSQL may take a while."""
        while True:
            await asyncio.sleep(1)
            failures = total_of(self.metrics.step_failures)
            await self.beat(self.lanes.settled(), self.metrics.pauses.keys(), failures)

    async def beat(
        self, settled: Mapping[TopicPartition, int], held: Collection[TopicPartition], failures: float
    ) -> None:
        """Look at the worker; ``failures`` is the number of failed attempts so far."""
        self._beats += 1
        if failures != self._failures:
            self._behind.clear()
            self._failures = failures
        for place in [*self._behind]:
            if place in held or settled.get(place) != self._behind[place].settled:
                del self._behind[place]
        if self._beats >= self._next_check:
            self._next_check = self._beats + self.limit_s / CHECKS_PER_LIMIT
            await self._check({place: offset for place, offset in settled.items() if place not in held})

    def standstill(self) -> str | None:
        """Name a partition that has stood still for half the limit: ``/livez`` says so before the process ends."""
        for place, seen in list(self._behind.items()):
            stood_s = self._beats - seen.since_beat
            if stood_s >= self.limit_s / 2:
                return "{}-{} has work and has stood at offset {} for {} s".format(*place, seen.settled, stood_s)
        return None

    async def _check(self, settled: Mapping[TopicPartition, int]) -> None:
        ends = await self.ends.of(settled.keys()) if settled else {}
        behind = {place: end for place, end in (ends or {}).items() if end > settled[place]}
        if not behind or not await self.store.healthy():
            self._behind.clear()
            return
        self._behind = {
            place: self._behind.get(place, _Behind(settled[place], self._beats)) for place in behind
        }  # fmt: skip
        for place, seen in self._behind.items():
            if self._beats - seen.since_beat >= self.limit_s:
                self.on_stuck(self._reason(place, seen, behind[place]))
                return

    def _reason(self, place: TopicPartition, seen: _Behind, end: int) -> str:
        name = "{}-{}".format(*place)
        return (
            f"{name} has stood at offset {seen.settled} of {end} for {self._beats - seen.since_beat} s while Kafka "
            f"and PostgreSQL answer; its lane stands at {stack_of_task(f'lane {name}')}"
        )


@dataclass(slots=True)
class KafkaEnds:
    """Asks with librdkafka: what keeps aiokafka from answering does not concern it."""

    settings: KafkaSettings
    _admin: AdminClient | None = None

    async def of(self, places: Collection[TopicPartition]) -> Mapping[TopicPartition, int] | None:
        return await asyncio.to_thread(self._ask, list(places))

    def _ask(self, places: list[TopicPartition]) -> Mapping[TopicPartition, int] | None:
        wanted = {confluent_kafka.TopicPartition(*place): OffsetSpec.latest() for place in places}  # type: ignore[no-untyped-call]
        try:
            if self._admin is None:
                self._admin = AdminClient({**librdkafka_settings(self.settings), "log_level": 0})
            asked = self._admin.list_offsets(
                wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=ASK_TIMEOUT_S
            )
            return {TopicPartition(str(tp.topic), tp.partition): answer.result(ASK_TIMEOUT_S).offset
                    for tp, answer in asked.items()}  # fmt: skip
        except (KafkaException, TimeoutError):
            return None


def stack_of_task(name: str) -> str:
    """Return where a task waits, innermost frame first, in one line."""
    task = next((task for task in asyncio.all_tasks() if task.get_name() == name), None)
    frames, awaited = [], task.get_coro() if task else None
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        frames.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        awaited = getattr(awaited, "cr_await", None)
    return one_line(frames[::-1])


def total_of(counter: Counter) -> float:
    """Return a counter's sum over all its labels."""
    return sum(
        sample.value
        for family in counter.collect()
        for sample in family.samples
        if sample.name == f"{family.name}_total"
    )
