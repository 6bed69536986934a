"""The disk under PostgreSQL is full, or fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from keepstream.app.embedded import EmbeddedUnavailableError
from keepstream.app.embedded.postgres import EmbeddedPostgres
from tests.acceptance.conftest import System
from tests.faults.preload import lever
from tests.faults.produced_ledger import LedgerProducer, close, settled, wait_s, warmed_up
from tests.faults.proxied_servers import Rig
from tests.faults.report import Row
from tests.real import Kafka, Postgres, eventually

pytestmark = [pytest.mark.real, pytest.mark.long]


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """Mount a small file system; skip where that is not allowed."""
    folder = Path("/tmp") / f"keepstream-disk-{os.getpid()}"  # noqa: S108 - an account that is not ours must reach it
    folder.mkdir(mode=0o711, exist_ok=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "tmpfs", folder],
                           capture_output=True, text=True, check=False)  # fmt: skip
    if mount.returncode:
        folder.rmdir()
        pytest.skip(f"cannot mount a tmpfs: {mount.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


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


def test_a_disk_that_does_not_sync_is_waited_for(
    system_on: Callable[[EmbeddedPostgres], System], new_producer: Callable[..., LedgerProducer],
    row: Callable[[str], Row], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    failing = row("PostgreSQL's disk fails: EIO at fsync")
    server = EmbeddedPostgres()
    with lever("broken_disk") as disk:
        for name, value in disk.environment.items():
            monkeypatch.setenv(name, value)
        system = system_on(server)
        monkeypatch.undo()
        producer = new_producer(system)
        worker = warmed_up(system, producer)
        with failing.active():
            disk.set(1)
            producer.send(2000)
            eventually(lambda: worker.get("/readyz")[0] == 503, 60, "readiness turns false")
            wait_s(3)
            disk.set(0)
            # PostgreSQL 18 whose recovery panics too neither tries again nor ends: somebody must restart it.
            server.kill()
            server.start()
        failing.recovers(lambda: settled(system) == 2200, 60)
        assert "PANIC" in (server.home() / "postgres.log").read_text()
        close(failing, system, producer, worker)
