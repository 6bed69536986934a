"""A PostgreSQL of the test's own: taken by others, read-only, or set back in time."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack

import psycopg
import pytest

from keepstream.app.embedded.postgres import EmbeddedPostgres
from tests.acceptance.conftest import System
from tests.faults.produced_ledger import LedgerProducer, close, reckon, settled, wait_s, warmed_up
from tests.faults.report import Row
from tests.real import eventually

pytestmark = pytest.mark.real


@pytest.mark.long
def test_without_a_free_connection_the_worker_waits_and_leaks_none(
    system_on: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    crowd = row("max_connections used up by others")
    settings = {"max_connections": "12", "superuser_reserved_connections": "0"}
    system = system_on(EmbeddedPostgres(settings=settings))
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    end_workers = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'keepstream worker'"
    system.database.close()  # the connection that it keeps is none of the twelve
    with crowd.active(), ExitStack() as crowded:
        held = [crowded.enter_context(system.database.connect())]
        eventually(lambda: take_all(system, crowded, held, end_workers), 30, "others hold every connection")
        producer.send(500)
        eventually(lambda: worker.get("/readyz")[0] == 503, 30, "readiness turns false")
        wait_s(3)
    crowd.recovers(lambda: settled(system) > 200, 30)
    found = reckon(system, producer)
    system.assert_consistent()
    eventually(lambda: worker.get("/readyz")[0] == 200, 30)
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'keepstream worker'"
    assert system.database.value(ours) <= 8
    assert worker.process.exit_code is None
    crowd.closes(found)


def take_all(system: System, crowded: ExitStack, held: list[psycopg.Connection[tuple[object, ...]]], end: str) -> bool:
    """End the worker's sessions and take their places; true once no place is left and none is the worker's."""
    held[0].execute(end)
    try:
        while len(held) < 12:
            held.append(crowded.enter_context(system.database.connect()))
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.long
def test_a_read_only_standby_is_waited_out_until_it_is_promoted(
    system_on: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    standby = row("connected to a hot standby, promoted later")
    server = EmbeddedPostgres()
    system = system_on(server)
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    server.stop(keep_data=True)
    (server.home() / "pgdata" / "standby.signal").touch()
    server.start()
    assert system.database.value("SELECT pg_is_in_recovery()")
    with standby.active():
        producer.send(500)
        eventually(lambda: worker.get("/readyz")[0] == 503, 30, "readiness turns false")
        wait_s(2)
        assert settled(system) == 200
        assert system.database.value("SELECT pg_promote()")
    standby.recovers(lambda: settled(system) > 200, 30)
    close(standby, system, producer, worker)


def test_a_failover_to_a_lagging_standby_rewinds_rows_counters_and_offset_together(
    system_on: Callable[..., System],
    new_producer: Callable[..., LedgerProducer],
    row: Callable[[str], Row],
) -> None:
    failover = row("failover to a standby that lags: the last commits are gone")
    server = EmbeddedPostgres()
    system = system_on(server)
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    pgdata, standby = server.home() / "pgdata", server.home() / "standby"
    server.stop(keep_data=True)
    subprocess.run(["cp", "-a", pgdata, standby], check=True)
    server.start()
    producer.send(2000)
    system.settled(2200)
    server.kill()
    shutil.rmtree(pgdata)
    standby.rename(pgdata)
    with failover.active():
        server.start()
    assert settled(system) < 2200, "the standby does not lag"
    producer.send(300)
    failover.recovers(lambda: settled(system) == 2500, 60)
    found = reckon(system, producer)
    system.assert_consistent()
    assert system.database.totals()["duplicate"] == 0
    assert worker.process.exit_code is None
    failover.closes(found)
