"""What commands say when a real PostgreSQL refuses a connection."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest
from pydantic import SecretStr

from keepstream.app.config.postgres import PostgresSettings
from keepstream.app.config.settings import Settings
from keepstream.app.connect.services import Services
from keepstream.app.embedded.postgres import EmbeddedPostgres
from keepstream.app.errors import UNREACHABLE, KeepstreamError

pytestmark = pytest.mark.real
SLOTS = {"max_connections": "4", "superuser_reserved_connections": "1", "reserved_connections": "1"}
FREE_WITHIN_S = 10


class Standby(EmbeddedPostgres):
    """A server that is in recovery for ever, and takes no connections, once `follow` restarted it."""

    def follow(self) -> None:
        self._settings["hot_standby"] = "off"
        (self.home() / "pgdata" / "standby.signal").touch()
        self.restart()

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError as error:
            return "Hot standby mode is disabled" in str(error)
        return True


@pytest.fixture(scope="module")
def server() -> Iterator[Standby]:
    """A server with few connection slots that trusts everybody."""
    with Standby(settings=SLOTS) as postgres:
        (postgres.home() / "pgdata" / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\n")
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("CREATE ROLE app LOGIN")
        yield postgres


def refused(url: str) -> KeepstreamError:
    settings = Settings(_env_file=None, postgres=PostgresSettings(url=SecretStr(url)))
    with pytest.raises(KeepstreamError) as error, Services(settings).postgres():
        pass
    assert error.value.exit_code == UNREACHABLE
    return error.value


def connected(url: str) -> psycopg.Connection:
    """Connect once a slot is free: the server frees that of a closed connection a moment after the client closed it."""
    deadline = time.monotonic() + FREE_WITHIN_S
    while True:
        try:
            return psycopg.connect(url)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def test_a_missing_role_a_missing_database_and_an_unknown_host_are_told_apart(server: Standby) -> None:
    at = f"127.0.0.1:{server.port}"
    assert refused(f"postgresql://nobody@{at}/postgres").message.endswith(f"{at}: there is no such role")
    assert refused(f"postgresql://app@{at}/none").message.endswith(f"{at}: there is no such database")
    assert refused("postgresql://app@db.invalid/none").message.endswith("db.invalid:5432: its host name is unknown")


def test_full_connection_slots_are_no_unreachable_server(server: Standby) -> None:
    url = f"postgresql://app@127.0.0.1:{server.port}/postgres"
    with connected(url), connected(url):
        error = refused(url)
    assert "all connections of the server are in use" in error.message
    assert "max_connections" in error.hint


def test_a_server_in_recovery_is_no_unreachable_server(server: Standby) -> None:
    server.follow()
    error = refused(f"postgresql://app@127.0.0.1:{server.port}/postgres")
    assert "the server is in recovery" in error.message
    assert "wait for it" in error.hint
