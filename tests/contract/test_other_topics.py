"""A topic that is new in tables of another one is refused: equal ids of both would be one event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from keepstream.sinks.postgres.connection import ConnectionPolicy, open_pool
from keepstream.sinks.postgres.offsets import OtherTopicError, PostgresOffsets
from tests.pgbouncer import MODES, pgbouncer
from tests.real import Database, Servers

pytestmark = pytest.mark.real

ROUNDS = 200
TOPICS = ("orders", "payments")
PARTITIONS_OF = "SELECT topic, partition, next_offset FROM stream_offsets ORDER BY topic, partition"
COUNTERS_OF = "SELECT topic, partition FROM event_counters ORDER BY topic, partition"


@pytest.fixture(params=["direct", *MODES])
async def workers(
    servers: Servers, database: Database, request: pytest.FixtureRequest
) -> AsyncIterator[list[PostgresOffsets]]:
    """Two workers with a pool each, also behind a pooler."""
    if request.param == "direct":
        async for pools in opened(database, database.url):
            yield pools
        return
    with pgbouncer(servers.postgres_url, request.param) as pooler:
        async for pools in opened(database, pooler.url):
            yield pools


async def opened(database: Database, url: str) -> AsyncIterator[list[PostgresOffsets]]:
    policy = ConnectionPolicy(url=url, schema=database.schema, pool_size=2)
    pools = [await open_pool(policy) for _ in TOPICS]
    try:
        yield [PostgresOffsets(pool) for pool in pools]
    finally:
        for pool in pools:
            await pool.close()


async def test_a_topic_that_is_new_in_the_tables_of_another_one_is_refused(
    workers: list[PostgresOffsets], database: Database
) -> None:
    one, other = workers
    await one.open("orders", 0, 7)
    with pytest.raises(OtherTopicError, match="the tables of payments have events of the topic orders"):
        await other.open("payments", 0, 0)
    assert database.rows(PARTITIONS_OF) == [("orders", 0, 7)]
    assert database.rows(COUNTERS_OF) == [("orders", 0)]


async def test_partitions_of_topics_that_are_known_go_on(workers: list[PostgresOffsets], database: Database) -> None:
    """Two topics shared these tables before topics were refused: neither is new."""
    one, other = workers
    for topic in TOPICS:
        insert = "INSERT INTO stream_offsets (topic, partition, first_offset, next_offset) VALUES (%s, 0, 0, 5)"
        database.execute(insert, topic)
    for topic in TOPICS:
        await other.open(topic, 0, 9)
        await one.open(topic, 1, 3)
    assert database.rows(PARTITIONS_OF) == [(topic, *at) for topic in TOPICS for at in ((0, 5), (1, 3))]


async def test_another_topic_is_accepted_with_consent(workers: list[PostgresOffsets], database: Database) -> None:
    one, other = workers
    await one.open("orders", 0, 7)
    consented = PostgresOffsets(other.pool, allow_other_topics=True)
    await consented.open("payments", 0, 2)
    await other.open("payments", 1, 4)  # it is not new any more
    assert database.rows(PARTITIONS_OF) == [("orders", 0, 7), ("payments", 0, 2), ("payments", 1, 4)]
    assert database.rows(COUNTERS_OF) == [("orders", 0), ("payments", 0), ("payments", 1)]


async def test_of_two_topics_that_start_in_empty_tables_at_the_same_time_one_is_refused(
    workers: list[PostgresOffsets], database: Database
) -> None:
    with database.connect() as connection:
        for _ in range(ROUNDS):
            connection.execute("TRUNCATE stream_offsets, event_counters")
            opening = [worker.open(topic, 0, 0) for worker, topic in zip(workers, TOPICS, strict=True)]
            results = await asyncio.gather(*opening, return_exceptions=True)
            assert [type(result) for result in results if result] == [OtherTopicError]
            assert connection.execute("SELECT count(*) FROM stream_offsets").fetchall() == [(1,)]
