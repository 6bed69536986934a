"""PostgreSQL answers, and says no."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from app.embedded.errors import EmbeddedUnavailableError
from app.embedded.postgres import EmbeddedPostgres
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.faults.ledger import LedgerProducer, reckon, wait_s
from tests.real import Kafka, Postgres, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.conftest import Worker
    from tests.faults.report import Row
    from tests.faults.rig import Rig

pytestmark = pytest.mark.real


def settled(system: System) -> int:
    return system.database.totals()["total"]


def warmed_up(system: System, producer: LedgerProducer) -> Worker:
    worker = system.start_worker()
    producer.send(200)
    system.settled(200)
    return worker


@pytest.fixture
def system_on(rig: Rig, tmp_path: Path) -> Iterator[Callable[[EmbeddedPostgres], System]]:
    """Make a system on a PostgreSQL of the test's own and on the rig's broker."""
    with ExitStack() as stack:

        def make(server: EmbeddedPostgres) -> System:
            stack.callback(server.stop)
            server.start()
            database = stack.enter_context(Postgres(server.url).new_schema())
            stack.callback(server.start)
            system = System(Kafka(rig.kafka.bootstrap_servers), database, tmp_path, partitions=2)
            stack.callback(system.stop)
            return system

        yield make


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
                producer.send(5000)
                eventually(lambda: settled(system) == 5200, 90)
            finally:
                ended.set()
                rival.join(10)
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
    found = reckon(system, producer)
    system.assert_consistent()
    assert worker.process.exit_code is None
    standby.closes(found)


def test_a_failover_to_a_lagging_standby_rewinds_rows_counters_and_offset_together(
    system_on: Callable[..., System],
    new_producer: Callable[..., LedgerProducer],
    row: Callable[[str], Row],
    tmp_path: Path,
) -> None:
    failover = row("failover to a standby that lags: the last commits are gone")
    server = EmbeddedPostgres()
    system = system_on(server)
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    pgdata, standby = server.home() / "pgdata", server.home() / "standby"
    server.stop(keep_data=True)
    subprocess.run(["cp", "-a", pgdata, standby], check=True)  # noqa: S607
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


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """Mount a small file system; skip where that is not allowed."""
    folder = Path("/tmp") / f"keepstream-disk-{os.getpid()}"  # noqa: S108 - an account that is not ours must reach it
    folder.mkdir(mode=0o711, exist_ok=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "tmpfs", folder],  # noqa: S607
                           capture_output=True, text=True, check=False)  # fmt: skip
    if mount.returncode:
        folder.rmdir()
        pytest.skip(f"cannot mount a tmpfs: {mount.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)  # noqa: S607
        folder.rmdir()


@pytest.mark.long
def test_a_full_disk_is_waited_for(
    rig: Rig, new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row], tmp_path: Path
) -> None:
    full = row("PostgreSQL's disk full")
    settings = {"max_wal_size": "32MB", "min_wal_size": "32MB", "wal_keep_size": "0", "max_wal_senders": "0",
                "wal_level": "minimal"}  # fmt: skip
    with small_disk("160m") as disk:
        server = EmbeddedPostgres(data_dir=disk / "home", settings=settings)
        try:
            server.start()
        except EmbeddedUnavailableError as error:
            pytest.skip(str(error))
        with ExitStack() as stack:
            stack.callback(server.stop)
            database = stack.enter_context(Postgres(server.url).new_schema())
            system = System(Kafka(rig.kafka.bootstrap_servers), database, tmp_path, partitions=2)
            stack.callback(system.stop)
            producer = new_producer(system)
            stack.callback(producer.close)
            worker = warmed_up(system, producer)
            filler = disk / "filler"
            with full.active():
                fill(filler)
                producer.send(20_000)
                eventually(lambda: worker.get("/readyz")[0] == 503, 60, "readiness turns false")
                wait_s(3)
                assert settled(system) < 20_200
                filler.unlink()
                server.start()  # does nothing unless the full disk has ended it
            full.recovers(lambda: settled(system) == 20_200, 60)
            found = reckon(system, producer)
            system.assert_consistent()
            assert worker.process.exit_code is None
            full.closes(found)


def fill(path: Path) -> None:
    """Take all space that is left."""
    with path.open("wb") as file:
        try:
            while True:
                file.write(b"\0" * 65536)
                file.flush()
        except OSError:
            pass
