"""What ends, holds or bounds a worker by itself, on real parts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import System, Worker
from tests.builders import make_value
from tests.contract.process_faults import sabotaged
from tests.real import eventually

pytestmark = pytest.mark.real

STATIC = {"KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID": "guarded"}
LOOP_FREEZES = """
import time
from keepstream.processors.partition_queue import PartitionQueue
settle = PartitionQueue.settle
def frozen_settle(self, batch):
    settle(self, batch)
    if batch.offset_range.next_offset > 10:
        time.sleep(300)
PartitionQueue.settle = frozen_settle
"""
BATCH_HANGS = """
import asyncio
from keepstream.processors.pipeline import Pipeline
process = Pipeline.process
async def hang(self, batch):
    if batch.offset_range.next_offset > 10:
        await asyncio.Event().wait()
    return await process(self, batch)
Pipeline.process = hang
"""
FETCHES_NOTHING = """
from keepstream.app.worker.consumer_thread import ConsumerThread
fetch = ConsumerThread.fetch
async def silent_fetch(self, partitions, timeout_s):
    found = await fetch(self, partitions, timeout_s)
    if any(one.position > 10 for one in found.values()):
        import asyncio
        await asyncio.sleep(0.2)
        return {}
    return found
ConsumerThread.fetch = silent_fetch
"""
CLOSE_HANGS = """
import time
from keepstream.sinks.kafka.dead_letters import KafkaDeadLetterQueue
async def close(self):
    time.sleep(300)
KafkaDeadLetterQueue.close = close
"""


def last_words(worker: Worker) -> list[str]:
    return [line["event"] for line in worker.log() if line["level"] == "critical"]


def ended(worker: Worker, code: int, timeout_s: float = 30) -> None:
    eventually(lambda: worker.process.exit_code is not None, timeout_s, "the worker ends")
    assert worker.process.exit_code == code, worker.process.log_end()


def begun(system: System, code: str, **environment: str) -> Worker:
    """Start a sabotaged worker that has settled ten records."""
    system.environment |= environment
    system.produce(make_value() for _ in range(10))
    worker = sabotaged(system, code)
    system.settled(10)
    return worker


def finished_by_the_next(system: System, count: int) -> None:
    system.start_worker()
    system.settled(count)
    system.assert_consistent()
    assert system.database.totals()["delivered"] == count


def test_a_frozen_loop_ends_the_worker_and_says_where_it_stands(new_system: Callable[..., System]) -> None:
    system = new_system(**STATIC)
    worker = begun(system, LOOP_FREEZES, KEEPSTREAM_WORKER__LOOP_TIMEOUT_S="3")
    system.produce(make_value() for _ in range(10))
    ended(worker, 70)
    (reason,) = last_words(worker)
    assert reason.startswith("fatal: error: the event loop has been blocked for 3 s, at ")
    assert "frozen_settle < processors/dispatcher.py:" in reason
    finished_by_the_next(system, 20)


@pytest.mark.parametrize(
    ("code", "where"), [(BATCH_HANGS, "hang < "), (FETCHES_NOTHING, "next_batch < ")],
    ids=["a batch hangs", "nothing is fetched"],
)  # fmt: skip
def test_a_partition_that_stands_still_ends_the_worker(
    new_system: Callable[..., System], code: str, where: str
) -> None:
    system = new_system(**STATIC)
    worker = begun(system, code, KEEPSTREAM_WORKER__PROGRESS_TIMEOUT_S="4")
    system.produce(make_value() for _ in range(10))
    ended(worker, 70)
    (reason,) = last_words(worker)
    assert reason.startswith(f"fatal: error: {system.topic}-0 has been at offset 10 of 20 for ")
    assert where in reason
    finished_by_the_next(system, 20)


def test_an_idle_worker_and_one_that_is_paused_are_left_alone(system: System) -> None:
    system.environment["KEEPSTREAM_WORKER__PROGRESS_TIMEOUT_S"] = "2"
    system.environment["KEEPSTREAM_WORKER__LOOP_TIMEOUT_S"] = "2"
    worker = system.start_worker()
    system.produce([make_value()])
    system.settled(1)
    time.sleep(6)
    system.database.execute("ALTER TABLE events RENAME COLUMN metadata TO renamed")
    system.produce([make_value()])
    eventually(lambda: worker.get("/readyz")[0] == 503, 30)
    time.sleep(6)
    assert worker.process.exit_code is None, worker.process.log_end()
    system.database.execute("ALTER TABLE events RENAME COLUMN renamed TO metadata")
    system.settled(2)


def test_a_suspended_worker_is_not_taken_for_a_stuck_one(system: System) -> None:
    system.environment["KEEPSTREAM_WORKER__LOOP_TIMEOUT_S"] = "2"
    worker = system.start_worker()
    system.produce([make_value()])
    system.settled(1)
    os.kill(worker.process.pid, signal.SIGSTOP)
    time.sleep(5)
    os.kill(worker.process.pid, signal.SIGCONT)
    system.produce([make_value()])
    system.settled(2)
    assert worker.process.exit_code is None, worker.process.log_end()


@pytest.mark.parametrize("code", [LOOP_FREEZES, BATCH_HANGS, CLOSE_HANGS], ids=["loop", "batch", "close"])
def test_whatever_hangs_sigterm_ends_the_worker_in_time(new_system: Callable[..., System], code: str) -> None:
    system = new_system(**STATIC)
    worker = begun(system, code, KEEPSTREAM_WORKER__DRAIN_TIMEOUT_S="1")
    system.produce(make_value() for _ in range(10))
    if code != CLOSE_HANGS:
        eventually(lambda: system.database.totals()["total"] > 10 or code == BATCH_HANGS, 20)
        time.sleep(1)
    asked_at = time.monotonic()
    os.kill(worker.process.pid, signal.SIGTERM)
    ended(worker, 0, timeout_s=10)
    assert time.monotonic() - asked_at < 8
    finished_by_the_next(system, 20)


def test_sigterm_while_postgres_does_not_answer_ends_the_worker_in_time(new_system: Callable[..., System]) -> None:
    system = new_system(**STATIC, KEEPSTREAM_WORKER__DRAIN_TIMEOUT_S="1")
    worker = system.start_worker()
    system.produce([make_value()])
    system.settled(1)
    with system.database.connect() as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        system.produce(make_value() for _ in range(50))
        eventually(lambda: system.database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), 20, "it waits")
        asked_at = time.monotonic()
        os.kill(worker.process.pid, signal.SIGTERM)
        ended(worker, 0, timeout_s=10)
        assert time.monotonic() - asked_at < 8
    finished_by_the_next(system, 51)
