"""What a reader does, each as a process of its own: ``python -m benchmarks.consumer_programs NAME JSON`` prints JSON.

Started by `benchmarks.consumers`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Message

from benchmarks.consumer_readers import Plan, Reader, reader, received_bytes
from benchmarks.usage import usage
from keepstream.app.worker.faust_app import chunks
from keepstream.processors.partition_queue import memory_size
from keepstream.schemas.record import Record

BATCH, BATCH_BYTES, BUFFER_BYTES, MIN_QUEUE_BYTES = 100, 2 * 1024 * 1024, 32 * 1024 * 1024, 256 * 1024
"""The worker's defaults: `WorkerSettings`, and `Dispatcher.below_capacity`."""
Figures = dict[str, Any]


async def drain(reading: Reader, plan: Plan, events: int) -> Figures:
    """Read a backlog into batches of one partition; time and CPU count from the first record on."""
    count, batches = 0, 0
    began, cpu = 0.0, 0.0
    while count < events:
        found = await reading.read(set(range(plan.partitions)))
        if not began and found:
            began, cpu = time.monotonic(), time.process_time()
            count = -sum(map(len, found.values()))
            events += count
        for records in found.values():
            for chunk in batches_of(records):
                batches, count = batches + 1, count + len(chunk)
    took_s = time.monotonic() - began
    cpu_us = (time.process_time() - cpu) * 1e6 / count
    return {"events_per_s": count / took_s, "cpu_us": cpu_us, "per_batch": count / batches}


def batches_of(records: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut records into batches as the worker does, and weigh each; bare messages are cut by their number only."""
    if isinstance(records[0], Message):
        yield from (records[begin : begin + BATCH] for begin in range(0, len(records), BATCH))
        return
    for chunk in chunks(records, BATCH, BATCH_BYTES):
        memory_size(chunk)
        yield chunk


class Queue:
    """The unsettled records of one partition, settled at a steady rate but while they are stalled."""

    def __init__(self) -> None:
        self.records: deque[Record] = deque()
        self.size_bytes = self.settled = 0
        self.full = False
        self._credit = 0.0

    def add(self, records: Sequence[Record]) -> None:
        self.records.extend(records)
        self.size_bytes += memory_size(records)

    def settle(self, credit: float) -> None:
        self._credit = min(self._credit + credit, 2.0 * BATCH)
        while self.records and self._credit >= 1:
            self._credit -= 1
            self.settled += 1
            self.size_bytes -= memory_size([self.records.popleft()])

    def is_full(self, share: float, resume_at: float) -> bool:
        self.full = self.size_bytes >= (share * resume_at if self.full else share)
        return self.full


@dataclass(frozen=True)
class Pace:
    """Settle ``rate`` records a second for ``seconds``, of partition 0 none between the two times of ``stall_s``."""

    rate: float
    seconds: float = 10.0
    stall_s: tuple[float, float] = (0, 0)
    resume_at: float = 1.0
    """How empty a full queue has to become before it is read again, as a part of its share."""
    all_wait: bool = False
    """Whether one full queue stops the reading of all, in place of a pause of its partition."""


async def paced(reading: Reader, plan: Plan, **given: Any) -> Figures:
    """Settle records at a steady pace, of all partitions alike, within the worker's memory of a partition queue."""
    pace = Pace(**given)
    queues = [Queue() for _ in range(plan.partitions)]
    share = max(MIN_QUEUE_BYTES, BUFFER_BYTES // plan.partitions)
    base, before, began = usage(os.getpid()).rss_mb, received_bytes(), time.monotonic()
    last, pauses, of_others = began, 0, {False: 0, True: 0}
    while (now := time.monotonic()) - began < pace.seconds:
        stalled = pace.stall_s[0] <= now - began < pace.stall_s[1]
        for number, queue in enumerate(queues):
            done = queue.settled
            queue.settle(0 if stalled and number == 0 else (now - last) * pace.rate / plan.partitions)
            of_others[stalled] += (queue.settled - done) if number else 0
        last, were_full = now, {n for n, queue in enumerate(queues) if queue.full}
        full = {n for n, queue in enumerate(queues) if queue.is_full(share, pace.resume_at)}
        pauses += len(full - were_full)
        wanted = set(range(plan.partitions)) - full
        if not wanted or (pace.all_wait and full):
            await asyncio.sleep(0.005)
            continue
        for number, records in (await reading.read(wanted)).items():
            queues[number].add(records)
    taken = sum(queue.settled + len(queue.records) for queue in queues)
    return {
        "settled_per_s": sum(q.settled for q in queues) / pace.seconds, "taken": taken, "pauses": pauses,
        "others_per_s_during_stall": of_others[True] / (pace.stall_s[1] - pace.stall_s[0]) if pace.stall_s[1] else None,
        "received_mb": (received_bytes() - before) / 1e6, "peak_mb": usage(os.getpid()).peak_mb, "base_mb": base,
    }  # fmt: skip


async def collect(reading: Reader, plan: Plan, seconds: float, *, any_is_enough: bool = False) -> Figures:
    """Report how many records arrived, what the client said, and the most memory that it took."""
    found: dict[int, list[bytes]] = {partition: [] for partition in range(plan.partitions)}
    base, until = usage(os.getpid()).rss_mb, time.monotonic() + seconds
    while time.monotonic() < until and not (any_is_enough and (reading.errors or any(found.values()))):
        for partition, records in (await reading.read(set(range(plan.partitions)))).items():
            found[partition] += [r.value or b"" for r in records]
    errors = {partition: f"{len(said)} x {said[0]}" for partition, said in reading.errors.items()}
    return {
        "read": {partition: len(values) for partition, values in found.items()}, "errors": errors,
        "read_damaged": sum(b"damaged" in value for values in found.values() for value in values),
        "base_mb": base, "peak_mb": usage(os.getpid()).peak_mb,
    }  # fmt: skip


async def member(reading: Reader, plan: Plan) -> Figures:
    """Read as a member of a group until SIGTERM; report when records of each partition arrived."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    arrivals: dict[int, list[float]] = {partition: [] for partition in range(plan.partitions)}
    while not stop.is_set():
        for partition, records in (await reading.read(set(range(plan.partitions)))).items():
            if records:
                arrivals[partition].append(time.monotonic())
        await asyncio.sleep(0)
    return {"arrivals": arrivals}


PROGRAMS: dict[str, Callable[..., Awaitable[Figures]]] = {
    "drain": drain,
    "paced": paced,
    "collect": collect,
    "member": member,
}


async def run(name: str, given: Figures) -> Figures:
    plan = Plan(**given.pop("plan"))
    reading = reader(plan)
    await reading.open()
    try:
        return await PROGRAMS[name](reading, plan, **given)
    finally:
        await reading.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(sys.argv[1], json.loads(sys.argv[2])))))
