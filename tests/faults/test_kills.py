"""Kills, freezes and rebalances of whole processes."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import MINUTES
from tests.faults.ledger import LedgerProducer, reckon, settled, wait_s
from tests.real import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import System, Worker
    from tests.faults.report import Row
    from tests.faults.rig import Rig

pytestmark = pytest.mark.real

FENCED = "keepstream_fenced_batches_total"


def fences(worker: Worker) -> float:
    text = worker.get("/metrics")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in text if line.startswith(FENCED))


@pytest.mark.timeout(MINUTES * 60 + 300)
def test_random_kills_of_everything_lose_and_double_nothing(
    rig: Rig, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    rows = {name: row(f"kill -9 at random: {name}") for name in ("worker", "Kafka", "PostgreSQL")}
    system = new_system(partitions=4)
    workers = [system.start_worker() for _ in range(2)]
    producer = new_producer(system)
    producer.start(events_per_s=400)
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    deadline = time.monotonic() + MINUTES * 60
    strikes = 0
    while time.monotonic() < deadline or strikes < 3:
        victim = [*rows][strikes] if strikes < 3 else dice.choices([*rows], [6, 1, 2])[0]
        wait_s(dice.uniform(0.2, 3))
        if victim == "worker":
            index = dice.randrange(2)
            workers[index].process.kill()
            workers[index] = system.start_worker()
        else:
            server = rig.kafka if victim == "Kafka" else rig.postgres
            server.kill()
            wait_s(dice.uniform(0, 2))
            server.start()
        rows[victim].struck()
        strikes += 1
        before = settled(system)
        rows[victim].recovers(lambda before=before: settled(system) > before, 90)  # type: ignore[misc]
    producer.stop()
    found = reckon(system, producer)
    system.assert_consistent()
    assert all(worker.process.exit_code is None for worker in workers), [w.process.log_end() for w in workers]
    for each in rows.values():
        each.closes(found)


def test_a_frozen_worker_wakes_up_as_a_zombie_and_its_transaction_is_refused(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    zombie_row = row("worker frozen (SIGSTOP) past its session, then thawed")
    # Small batches and a long backlog: the frozen worker has work in hand.
    system = new_system(partitions=4, KEEPSTREAM_WORKER__BATCH_SIZE="10")
    producer = new_producer(system)
    workers = [system.start_worker() for _ in range(2)]
    for worker in workers:
        eventually(lambda worker=worker: worker.metric("keepstream_assigned_partitions") == 2, 60)  # type: ignore[misc]
    refused = sum(freeze(zombie, heir, system, producer, zombie_row) for zombie, heir in (workers, workers[::-1]))
    found = reckon(system, producer)
    system.assert_consistent()
    assert refused > 0, "no transaction of a zombie was refused: the freeze met no work in hand"
    assert [worker.process.exit_code for worker in workers] == [None, None]
    zombie_row.closes(found)


def freeze(zombie: Worker, heir: Worker, system: System, producer: LedgerProducer, zombie_row: Row) -> float:
    """Freeze one in full flight until the other owns all, thaw it, and return how often it was refused."""
    producer.send(8000, wait=False)
    eventually(lambda: in_a_backlog(zombie), 30, "the one to be frozen is at work")
    before = fences(zombie)
    os.kill(zombie.process.pid, signal.SIGSTOP)
    producer.flush()
    eventually(lambda: heir.metric("keepstream_assigned_partitions") == 4, 60, "the heir owns all")
    at = settled(system)
    eventually(lambda: settled(system) > at, 30, "the heir works")
    with zombie_row.active():
        os.kill(zombie.process.pid, signal.SIGCONT)
    zombie_row.recovers(lambda: heir.metric("keepstream_assigned_partitions") == 2, 60, "the zombie is a member again")
    return fences(zombie) - before


def in_a_backlog(worker: Worker) -> bool:
    """Whether the worker is in the middle of a backlog."""
    lines = worker.get("/metrics")[1].splitlines()
    lags = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("keepstream_consumer_lag_events{")]
    return any(lag > 1000 for lag in lags)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_rebalance_storm_loses_and_doubles_nothing(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    storm = row("rebalance storm: a second worker comes and goes")
    system = new_system(partitions=8)
    steady = system.start_worker()
    producer = new_producer(system)
    producer.start(events_per_s=400)
    deadline = time.monotonic() + max(MINUTES * 60, 60)
    while time.monotonic() < deadline:
        guest = system.start_worker()
        eventually(lambda: guest.metric("keepstream_assigned_partitions") > 0, 60, "the guest has partitions")  # noqa: B023
        if storm.injected % 3:
            guest.process.kill()
        else:
            assert guest.process.stop() == 0
        storm.struck()
        before = settled(system)
        storm.recovers(lambda: settled(system) > before, 60)  # noqa: B023
    producer.stop()
    found = reckon(system, producer)
    system.assert_consistent()
    assert steady.process.exit_code is None
    assert system.database.totals()["duplicate"] == 0
    storm.closes(found)
