"""A database that Citus distributes is refused by name. Citus itself is in no package here: its catalog is made."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from pydantic import SecretStr

from keepstream.app.config.postgres import PostgresSettings
from keepstream.app.config.settings import Settings
from keepstream.app.connect.services import Services
from keepstream.app.errors import KeepstreamError
from keepstream.sinks.postgres.connection import ConnectionPolicy, open_pool
from keepstream.sinks.postgres.migrate import migrate
from keepstream.sinks.postgres.session import UnusableDatabaseError
from tests.acceptance.test_session_settings import new_database
from tests.real import Servers

pytestmark = pytest.mark.real

CATALOG = """
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrel regclass NOT NULL);
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
SELECT 99999, 'citus', 10, 11, false, '13.2-1'"""


@pytest.fixture
def citus(servers: Servers) -> Iterator[str]:
    """The URL of a migrated database with the catalog of Citus, which knows no table."""
    with new_database(servers.postgres_url) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            migrate(connection)
            connection.execute(CATALOG)
        yield url


async def test_distributed_events_are_refused_by_name_and_local_ones_are_not(citus: str) -> None:
    services = Services(Settings(_env_file=None, postgres=PostgresSettings(url=SecretStr(citus))))
    with services.postgres() as connection:
        connection.execute("INSERT INTO pg_dist_partition VALUES ('events')")
    with pytest.raises(KeepstreamError, match="the server is Citus, and events is one of its distributed tables"):
        services.postgres().__enter__()
    refused: list[UnusableDatabaseError] = []
    pool = await open_pool(ConnectionPolicy(citus, connect_timeout_s=1), on_unusable=refused.append)
    with pytest.raises(Exception, match="couldn't get a connection"):
        async with pool.connection():
            pass
    await pool.close()
    assert "Citus" in str(refused[0])
