"""Waiting for one's own connections is no outage."""

from __future__ import annotations

import asyncio

import pytest

from keepstream.schemas.failure import SystemicError
from keepstream.schemas.outcome import OutcomeCounts
from tests.builders import make_event
from tests.contract.store_fixtures import postgres_table, settle
from tests.real import Database

pytestmark = pytest.mark.real


async def test_more_batches_than_connections_wait_for_longer_than_connecting_may_take(database: Database) -> None:
    async with postgres_table(database, pool_size=1, connect_timeout_s=1) as table:
        for partition in range(3):
            await table.open(partition, 0)
        async with table.store.pool.connection() as taken:
            waiting = [
                asyncio.create_task(settle(table, 0, 1, make_event(0, event_id=f"e-{partition}"), partition=partition))
                for partition in range(3)
            ]
            await taken.execute("SELECT pg_sleep(2.5)")
        assert await asyncio.gather(*waiting) == [OutcomeCounts(delivered=1)] * 3


async def test_everybody_who_waits_hears_of_an_outage_at_once(database: Database) -> None:
    nowhere = "postgresql://127.0.0.1:1/none"
    async with postgres_table(database, url=nowhere, pool_size=1, connect_timeout_s=1) as table, asyncio.timeout(5):
        settling = [settle(table, 0, 1, make_event(), partition=partition) for partition in range(20)]
        outcomes = await asyncio.gather(*settling, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [SystemicError] * 20
        assert {outcome.failure.reason for outcome in outcomes if isinstance(outcome, SystemicError)} == {
            "database_unreachable"
        }


async def test_a_wait_that_is_cancelled_costs_no_connection(database: Database) -> None:
    async with postgres_table(database, pool_size=1, connect_timeout_s=1) as table:
        await table.open(0, 0)
        async with table.store.pool.connection():
            waiting = asyncio.create_task(settle(table, 0, 1, make_event()))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await settle(table, 0, 1, make_event()) == OutcomeCounts(delivered=1)


async def test_the_connection_of_a_waiter_that_is_cancelled_just_then_goes_to_the_next(database: Database) -> None:
    async with postgres_table(database, pool_size=1, connect_timeout_s=1) as table, asyncio.timeout(5):
        pool = table.store.pool
        taken = await pool.getconn()
        first, second = (asyncio.create_task(pool.getconn()) for _ in range(2))
        await asyncio.sleep(0)
        await pool.putconn(taken)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await pool.putconn(await second)
