"""A PostgreSQL that forgets its last commits takes rows, counters and offsets back together, and the worker notices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.embedded.postgres import EmbeddedPostgres
from sinks.postgres.migrate import migrate
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.real import Database, Kafka, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def forgetful() -> Iterator[EmbeddedPostgres]:
    """Commits that nobody waits for stay in memory: PostgreSQL writes them at most every three of these delays."""
    with EmbeddedPostgres(settings={"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB"}) as postgres:
        yield postgres


@pytest.mark.timeout(180)
def test_commits_that_a_crash_takes_back_are_made_again_even_when_nothing_new_arrives(
    forgetful: EmbeddedPostgres, kafka: Kafka, tmp_path: Path
) -> None:
    database = Database(forgetful.url, "public")
    with database.connect() as connection:
        migrate(connection, "public")
    system = System(kafka, database, tmp_path, partitions=2)
    try:
        worker = system.start_worker(KEEPSTREAM_POSTGRES__SYNCHRONOUS_COMMIT="false")
        system.produce([make_value()])
        system.settled(1)
        system.database.execute("CREATE TABLE marker ()")  # a commit that is waited for takes the earlier ones with it
        system.produce(make_value() for _ in range(3000))
        system.settled(3001)
        forgetful.kill()
        forgetful.start()
        assert system.database.totals()["total"] < 3001, "nothing was forgotten: the test proves nothing"
        eventually(lambda: system.database.totals()["total"] == 3001, 60, "what was forgotten is made again")
        system.assert_consistent()
        assert worker.process.exit_code is None
        assert system.database.totals()["delivered"] == 3001
    finally:
        system.stop()
