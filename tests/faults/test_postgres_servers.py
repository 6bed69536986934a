"""A PostgreSQL of the test's own: full, read-only, or set back in time."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from app.embedded.errors import EmbeddedUnavailableError
from app.embedded.postgres import EmbeddedPostgres
from tests.acceptance.conftest import System
from tests.faults.ledger import LedgerProducer, close, reckon, settled, wait_s, warmed_up
from tests.real import Kafka, Postgres, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.report import Row
    from tests.faults.rig import Rig

pytestmark = pytest.mark.real


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
    close(standby, system, producer, worker)


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
            close(full, system, producer, worker)


def fill(path: Path) -> None:
    """Take all space that is left. Unbuffered: what was not written would be tried again when the file is closed."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
