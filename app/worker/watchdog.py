"""Watchdogs: they end a worker whose event loop is blocked or whose partition stalls, and log the stack."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException

from keepstream.app.process.exit import exit_fatal
from keepstream.processors.dispatcher import Dispatcher, task_name
from keepstream.processors.partition_queue import PartitionQueue
from keepstream.processors.ports import EventStore
from keepstream.schemas.record import TopicPartition

TICK_S = 1.0
MAX_FRAMES = 12


class LoopWatchdog:
    """Ends the process when its event loop is blocked for ``limit_s``, counted in ticks of its own, not by the clock.

    A process that was suspended as a whole (SIGSTOP, a sleeping machine) is not ended: its watchdog was suspended too.
    No help where C code keeps the interpreter lock; there ``/livez`` fails.
    """

    def __init__(self, limit_s: float, on_stuck: Callable[[str], None] = exit_fatal, tick_s: float = TICK_S) -> None:
        self._limit_s = limit_s
        self._on_stuck = on_stuck
        self._tick_s = min(tick_s, limit_s / 4)
        self._beats = 0
        self._watched = threading.get_ident()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start watching the thread that created this object."""
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def beat(self) -> None:
        """Record that the loop runs. Must be called on the loop."""
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
                self._on_stuck(f"the event loop has been blocked for {silent_s:.0f} s, at {where}")
                return


def stack_of_thread(ident: int) -> str:
    """Return a thread's stack in one line, innermost frame first."""
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - documented, for debuggers
    frames = traceback.extract_stack(frame) if frame else []
    return one_line([(entry.filename, entry.lineno, entry.name) for entry in reversed(frames)])


def one_line(frames: list[tuple[str, int | None, str]]) -> str:
    """Write (file, line, function) as ``folder/file.py:12 function < ...``."""
    lines = [f"{'/'.join(Path(file).parts[-2:])}:{line} {name}" for file, line, name in frames[:MAX_FRAMES]]
    return " < ".join(lines) or "nowhere"


CHECKS_PER_LIMIT = 4


@dataclass(frozen=True, slots=True)
class _Stalled:
    """A queue that has records to settle, and its state when that was first seen."""

    queue: PartitionQueue
    settled_to: int
    failed_attempts: int
    since_beat: int

    @property
    def has_changed(self) -> bool:
        queue = self.queue
        return queue.closed or queue.paused is not None or (
            (queue.settled_to, queue.failed_attempts) != (self.settled_to, self.failed_attempts)
        )  # fmt: skip


@dataclass(slots=True)
class StallDetector:
    """Ends the worker when a partition has records to settle and settles none of them for ``limit_s``.

    Time is counted in beats, one per second: a worker that was suspended as a whole has not stalled. Nor has a
    partition that is paused, or whose attempts fail and are retried; and none while Kafka or PostgreSQL do not answer.
    """

    limit_s: float
    read_ends: Callable[[Collection[TopicPartition]], Mapping[TopicPartition, int]]
    """Asks Kafka for log ends, and blocks. Not through aiokafka: what blocks it does not block librdkafka."""
    stores: Mapping[str, EventStore]
    """By topic."""
    dispatcher: Dispatcher
    on_stuck: Callable[[str], None] = exit_fatal
    _beats: int = 0
    _stalled: dict[TopicPartition, _Stalled] = field(default_factory=dict)
    _next_check: float = 0

    async def run(self) -> None:
        """Check once per second. Needs a task of its own: Kafka and PostgreSQL may answer late."""
        while True:
            await asyncio.sleep(1)
            await self.beat()

    async def beat(self) -> None:
        """Check the queues once."""
        self._beats += 1
        self._stalled = {partition: seen for partition, seen in self._stalled.items() if not seen.has_changed}
        if self._beats >= self._next_check:
            self._next_check = self._beats + self.limit_s / CHECKS_PER_LIMIT
            await self._check([queue for queue in self.dispatcher.queues if not queue.paused])

    def stall(self) -> str | None:
        """Return a message about a partition that has stalled for half the limit; None when there is none."""
        for partition, seen in list(self._stalled.items()):
            stalled_s = self._beats - seen.since_beat
            if stalled_s >= self.limit_s / 2:
                return "{}-{} has records to settle and has been at offset {} for {} s".format(
                    *partition, seen.settled_to, stalled_s
                )
        return None

    async def _check(self, queues: Sequence[PartitionQueue]) -> None:
        before = {
            TopicPartition(queue.topic, queue.partition): _Stalled(
                queue, queue.settled_to, queue.failed_attempts, self._beats
            )
            for queue in queues
        }
        ends: Mapping[TopicPartition, int] = {}
        with suppress(KafkaException):
            ends = await asyncio.to_thread(self.read_ends, before.keys()) if before else {}
        behind = await self._on_healthy_stores({tp: end for tp, end in ends.items() if end > before[tp].settled_to})
        self._stalled = {tp: self._stalled.get(tp, before[tp]) for tp in behind if not before[tp].has_changed}
        for partition, seen in self._stalled.items():
            if self._beats - seen.since_beat >= self.limit_s:
                self.on_stuck(self._reason(partition, seen, behind[partition]))
                return

    async def _on_healthy_stores(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        topics = sorted({tp.topic for tp in ends})
        healthy = await asyncio.gather(*(self.stores[topic].healthy() for topic in topics))
        answering = {topic for topic, is_healthy in zip(topics, healthy, strict=True) if is_healthy}
        return {tp: end for tp, end in ends.items() if tp.topic in answering}

    def _reason(self, partition: TopicPartition, seen: _Stalled, end: int) -> str:
        return (
            f"{partition[0]}-{partition[1]} has been at offset {seen.settled_to} of {end} for "
            f"{self._beats - seen.since_beat} s while Kafka and PostgreSQL answer; its queue's task is at "
            f"{stack_of_task(task_name(partition))}"
        )


def stack_of_task(name: str) -> str:
    """Return where a task waits, innermost frame first, in one line."""
    task = next((task for task in asyncio.all_tasks() if task.get_name() == name), None)
    frames, awaited = [], task.get_coro() if task else None
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        frames.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        awaited = getattr(awaited, "cr_await", None)
    return one_line(frames[::-1])
