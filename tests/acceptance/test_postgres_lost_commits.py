"""A PostgreSQL that forgets its last commits takes rows, counters and offsets back together, and the worker notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstream.app.embedded.postgres import EmbeddedPostgres
from keepstream.sinks.postgres.migrate import migrate
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.real import Database, Kafka, eventually


@pytest.fixture
def forgetful() -> Iterator[EmbeddedPostgres]:
    """Commits that nobody waits for stay in memory: PostgreSQL writes them at most every three of these delays."""
    with EmbeddedPostgres(settings={"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB"}) as postgres:
        yield postgres


@pytest.fixture
def forgetful_system(forgetful: EmbeddedPostgres, kafka: Kafka, tmp_path: Path) -> Iterator[System]:
    database = Database(forgetful.url, "public")
    with database.connect() as connection:
        migrate(connection, "public")
    system = System(
        kafka, database, tmp_path, partitions=2, environment={"KEEPSTREAM_POSTGRES__SYNCHRONOUS_COMMIT": "false"}
    )
    yield system
    system.stop()


@pytest.mark.timeout(180)
def test_commits_that_a_crash_takes_back_are_made_again_even_when_nothing_new_arrives(
    forgetful: EmbeddedPostgres, forgetful_system: System
) -> None:
    system = forgetful_system
    worker = system.start_worker()
    system.produce([make_value()])
    system.settled(1)
    system.database.execute("CREATE TABLE marker ()")  # a commit that is waited for takes the earlier ones with it
    system.produce(make_value() for _ in range(3000))
    system.settled(3001)
    crash(forgetful, system)
    eventually(lambda: system.database.totals()["total"] == 3001, 60, "what was forgotten is made again")
    system.assert_consistent()
    assert worker.process.exit_code is None
    assert system.database.totals()["delivered"] == 3001


@pytest.mark.timeout(180)
def test_a_crash_soon_after_a_partition_was_opened_does_not_begin_it_where_the_group_committed(
    forgetful: EmbeddedPostgres, forgetful_system: System
) -> None:
    """Kafka's offset outlives the crash; with the partition's row it would be taken for another consumer's work."""
    system = forgetful_system
    system.produce(make_value() for _ in range(3000))
    system.start_worker()
    system.settled(3000)
    eventually(lambda: system.committed_lag() == 0, 30, "Kafka knows that all is settled")
    crash(forgetful, system)
    system.settled(3000)
    system.assert_consistent()
    assert system.database.totals()["delivered"] == 3000


def crash(postgres: EmbeddedPostgres, system: System) -> None:
    """Kill PostgreSQL with commits that it has not written, and start it again."""
    before = system.database.totals()["total"]
    postgres.kill()
    postgres.start()
    assert system.database.totals()["total"] < before, "nothing was forgotten: the test proves nothing"
