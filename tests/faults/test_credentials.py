"""The worker's password changes while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from tests.acceptance.conftest import System
from tests.faults.produced_ledger import LedgerProducer, close, settled, wait_s, warmed_up
from tests.faults.proxied_servers import Rig
from tests.faults.report import Row
from tests.real import eventually

pytestmark = pytest.mark.real

ROLE = "rotated"


@contextmanager
def role_of_its_own(url: str) -> Iterator[Callable[[str], None]]:
    """Create a role, and yield what gives it another password and ends its sessions, as a rotation does."""
    with psycopg.connect(url, autocommit=True) as admin:

        def rotate(password: str) -> None:
            admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(ROLE), sql.Literal(password)))
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [ROLE])

        admin.execute(sql.SQL("CREATE ROLE {} LOGIN SUPERUSER").format(sql.Identifier(ROLE)))
        try:
            yield rotate
        finally:
            rotate("unknown to all")
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(ROLE)))


def url_of_role(url: str) -> str:
    """Return the URL with the role in the place of the user, and without a password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{ROLE}@{parts.netloc.rpartition('@')[2]}"))


def test_a_rotated_password_is_waited_for_and_read_from_its_file(
    rig: Rig, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row],
    tmp_path: Path,
) -> None:  # fmt: skip
    rotation = row("the password is rotated, its file follows seconds later")
    file = tmp_path / "password"
    file.write_text("first")
    with role_of_its_own(rig.postgres.url) as rotate:
        rotate("first")
        url = url_of_role(rig.through_proxies()["KEEPSTREAM_POSTGRES__URL"])
        system = new_system(partitions=2, KEEPSTREAM_POSTGRES__URL=url, KEEPSTREAM_POSTGRES__PASSWORD_FILE=str(file))
        producer = new_producer(system)
        worker = warmed_up(system, producer)
        with rotation.active():
            rotate("second")
            producer.send(500)
            eventually(lambda: worker.get("/readyz")[0] == 503, 30, "readiness turns false")
            wait_s(3)
            assert settled(system) == 200
            file.write_text("second")
        rotation.recovers(lambda: settled(system) == 700, 60)
        close(rotation, system, producer, worker)
        system.stop()
