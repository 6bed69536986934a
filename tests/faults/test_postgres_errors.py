"""PostgreSQL answers, and says no."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.acceptance.conftest import System, Worker
from tests.builders import make_value
from tests.faults.produced_ledger import LedgerProducer, reckon, settled, warmed_up
from tests.faults.proxied_servers import Rig
from tests.faults.report import Row
from tests.real import eventually

pytestmark = pytest.mark.real


def test_deadlocks_with_a_foreign_writer_are_retried(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    deadlock = row("deadlock with a foreign writer in the opposite order")
    system = new_system()
    values = [make_value(event_id=f"d-{i:02}", timestamp=f"2026-11-24T10:00:{i:02}Z") for i in range(20)]
    newer = [make_value(event_id=f"d-{i:02}", timestamp=f"2026-11-25T10:00:{i:02}Z") for i in range(20)]
    worker = system.start_worker()
    system.produce(values)
    system.settled(20)
    producer = new_producer(system)
    with system.database.connect() as foreign, foreign.transaction():
        foreign.execute("UPDATE event_counters SET last_processed_at = now()")
        system.produce(newer)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
        eventually(lambda: system.database.value(waiting, "%stream_offsets%") > 0, 30, "the worker waits to count")
        # The server ends whoever looks first: be patient, so that it is the worker.
        foreign.execute("SET LOCAL deadlock_timeout = '60s'")
        with deadlock.active():
            foreign.execute("UPDATE events SET updated_at = now() WHERE event_id = 'd-00'")
    deadlock.recovers(lambda: settled(system) == 40, 30)
    assert failures_met(worker, "deadlock_detected") > 0, "no deadlock was met"
    producer.send(100)
    found = reckon(system, producer)
    system.assert_consistent()
    totals = system.database.totals()
    assert (totals["delivered"], totals["updated"], totals["failed"]) == (20 + 98, 20, 2)
    deadlock.closes(found)


def failures_met(worker: Worker, reason: str) -> int:
    """Return how many attempts of a step failed for this reason."""
    lines = worker.get("/metrics")[1].splitlines()
    of_reason = [line for line in lines if line.startswith("keepstream_step_failures_total{") and f'"{reason}"' in line]
    return int(sum(float(line.rpartition(" ")[2]) for line in of_reason))


@pytest.mark.long
def test_a_default_isolation_of_serializable_changes_nothing(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row], rig: Rig
) -> None:
    """A session's isolation is pinned: read committed, whatever the database's default is."""
    default = row("default isolation serializable, foreign writers interfere")
    system = new_system(partitions=4)
    name = psycopg.conninfo.conninfo_to_dict(rig.postgres.url)["dbname"]
    producer = new_producer(system)
    with psycopg.connect(rig.postgres.url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
        try:
            worker = warmed_up(system, producer)
            with rivals_at_work(system) as met:
                producer.send(5000)
                eventually(lambda: met["conflict"] > 0 and settled(system) == 5200, 90, "rivals meet the worker")
            default.struck(met["conflict"])
            found = reckon(system, producer)
            system.assert_consistent()
            assert failures_met(worker, "serialization_failure") == 0
            default.closes(found)
        finally:
            admin.execute(f"ALTER DATABASE {name} RESET default_transaction_isolation")


@contextmanager
def rivals_at_work(system: System) -> Iterator[Counter[str]]:
    """Touch the counters in two serializable sessions, as reports that also write would; count what happens to them."""
    ended, met = threading.Event(), Counter[str]()
    threads = [threading.Thread(target=interfere, args=[system, ended, met], daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield met
    finally:
        ended.set()
        for thread in threads:
            thread.join(10)


def interfere(system: System, ended: threading.Event, met: Counter[str]) -> None:
    while not ended.is_set():
        try:
            system.database.execute("UPDATE event_counters SET last_processed_at = now()")
            met["update"] += 1
        except psycopg.errors.SerializationFailure:
            met["conflict"] += 1
