"""Kills, freezes and rebalances of whole processes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import System, Worker
from tests.contract.process_faults import sabotaged
from tests.faults.conftest import MINUTES
from tests.faults.produced_ledger import LedgerProducer, consumed_to_end, reckon, settled, wait_s
from tests.faults.proxied_servers import Rig
from tests.faults.report import Row
from tests.real import eventually

pytestmark = pytest.mark.real

FREEZES_WITH_A_BATCH_IN_HAND = """
import os, pathlib, signal
from keepstream.sinks.postgres.store import PostgresStore
settle, flag = PostgresStore.settle, pathlib.Path(os.environ["FREEZE_WHEN"])
async def icy_settle(self, settlement):
    if not flag.exists():
        return await settle(self, settlement)
    flag.unlink()
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        tally = await settle(self, settlement)
    except BaseException as error:
        flag.with_suffix(".end").write_text(type(error).__name__)
        raise
    flag.with_suffix(".end").write_text("settled")
    return tally
PostgresStore.settle = icy_settle
"""
"""A random SIGSTOP meets a batch in hand only sometimes; this one always does."""
REFUSED = ("FencedError", "CancelledError")
"""PostgreSQL refused it; or the zombie heard of its fate from Kafka first, and took the statement back."""


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
    system = new_system(partitions=4)
    producer = new_producer(system)
    icy = [system.folder / f"freeze-{number}" for number in range(2)]
    workers = [sabotaged(system, FREEZES_WITH_A_BATCH_IN_HAND, FREEZE_WHEN=str(flag)) for flag in icy]
    for worker in workers:
        eventually(lambda worker=worker: worker.metric("keepstream_assigned_partitions") == 2, 60)  # type: ignore[misc]
    for flag, zombie, heir in zip(icy, workers, workers[::-1], strict=True):
        freeze(flag, zombie, heir, system, producer, zombie_row)
    found = reckon(system, producer)
    system.assert_consistent()
    assert [worker.process.exit_code for worker in workers] == [None, None]
    zombie_row.closes(found)


def freeze(flag: Path, zombie: Worker, heir: Worker, system: System, producer: LedgerProducer, zombie_row: Row) -> None:
    """See one freeze in full flight until the other owns all; thaw it, and see its transaction refused."""
    flag.touch()
    producer.send(500)
    eventually(lambda: is_frozen(zombie), 30, "it froze with a batch in hand")
    eventually(lambda: heir.metric("keepstream_assigned_partitions") == 4, 60, "the heir owns all")
    eventually(lambda: consumed_to_end(system), 30, "the heir does what the frozen one had in hand")
    with zombie_row.active():
        os.kill(zombie.process.pid, signal.SIGCONT)
    end = flag.with_suffix(".end")
    eventually(lambda: end.exists() and end.read_text(encoding="ascii"), 30, "the zombie's transaction ends")
    assert end.read_text(encoding="ascii") in REFUSED
    zombie_row.recovers(lambda: heir.metric("keepstream_assigned_partitions") == 2, 60, "the zombie is a member again")


def is_frozen(worker: Worker) -> bool:
    stat = Path(f"/proc/{worker.process.pid}/stat").read_text(encoding="ascii")
    return stat.rpartition(") ")[2].startswith("T")


@pytest.mark.long
@pytest.mark.timeout(MINUTES * 60 + 300)
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
