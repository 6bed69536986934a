"""PostgreSQL answers, and says no."""

from __future__ import annotations

import threading
from collections.abc import Callable

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
def test_serialization_failures_are_retried(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row], rig: Rig
) -> None:
    failures = row("default isolation serializable, foreign writers interfere")
    system = new_system(partitions=4)
    name = psycopg.conninfo.conninfo_to_dict(rig.postgres.url)["dbname"]
    producer = new_producer(system)
    with psycopg.connect(rig.postgres.url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
        try:
            worker = warmed_up(system, producer)
            ended = threading.Event()
            rival = threading.Thread(target=interfere, args=[system, ended], daemon=True)
            rival.start()
            try:
                producer.start(events_per_s=1000)
                eventually(lambda: failures_met(worker, "serialization_failure"), 90, "a batch meets a rival")
            finally:
                ended.set()
                rival.join(10)
            producer.stop()
            failures.struck(failures_met(worker, "serialization_failure"))
            found = reckon(system, producer)
            system.assert_consistent()
            failures.closes(found)
        finally:
            admin.execute(f"ALTER DATABASE {name} RESET default_transaction_isolation")


def interfere(system: System, ended: threading.Event) -> None:
    """Touch the counters in serializable transactions, as a report that also writes would."""
    while not ended.is_set():
        try:
            system.database.execute("UPDATE event_counters SET last_processed_at = now()")
        except psycopg.errors.SerializationFailure:
            continue
