"""Metrics of the workers for several topics: each is asked once, and each topic has its own figures."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from keepstream.app.status.workers import WorkerScraper

EXPOSED = """\
# TYPE keepstream_paused_partitions gauge
keepstream_paused_partitions{topic="orders"} 2.0
keepstream_paused_partitions{topic="payments"} 0.0
# TYPE keepstream_step_retries_total counter
keepstream_step_retries_total{topic="orders",step="store"} 7.0
keepstream_step_retries_total{topic="payments",step="store"} 1.0
# TYPE keepstream_step_failures_total counter
keepstream_step_failures_total{topic="orders",step="store",verdict="systemic",reason="connection_failure"} 7.0
# TYPE keepstream_consumer_lag_events gauge
keepstream_consumer_lag_events{topic="orders",partition="0"} 40.0
keepstream_consumer_lag_events{topic="payments",partition="0"} 3.0
"""


class Endpoint:
    """The endpoint of a worker; ``text`` is what it exposes."""

    def __init__(self) -> None:
        self.text, self.asked = EXPOSED, Counter[str]()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked[request.path] += 1
        if request.path == "/readyz":
            return web.Response(text="PostgreSQL of orders: it does not answer", status=503)
        return web.Response(text=self.text)


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
async def url(endpoint: Endpoint) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path}", endpoint.answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/metrics"))


async def test_each_topic_has_its_own_figures_of_one_scrape(endpoint: Endpoint, url: str) -> None:
    scraper = WorkerScraper([url], max_age_s=60)
    orders, payments = await asyncio.gather(*(asyncio.to_thread(scraper.read, one) for one in ("orders", "payments")))
    assert (orders.paused, orders.retries, orders.lag) == (2, 7, {0: 40})
    assert (payments.paused, payments.retries, payments.lag) == (0, 1, {0: 3})
    assert (len(orders.failures), len(payments.failures)) == (1, 0)
    assert [*orders.not_ready.values()] == ["PostgreSQL of orders: it does not answer"]
    assert endpoint.asked == {"/metrics": 1, "/readyz": 1}


async def test_one_reader_is_always_given_what_is_now(endpoint: Endpoint, url: str) -> None:
    scraper = WorkerScraper([url])
    assert (await asyncio.to_thread(scraper.read, "orders")).paused == 2
    endpoint.text = EXPOSED.replace('{topic="orders"} 2.0', '{topic="orders"} 0.0')
    assert (await asyncio.to_thread(scraper.read, "orders")).paused == 0


@pytest.mark.parametrize("text", ["<html>", 'keepstream_paused_partitions{topic="orders"} NaN\n'])
async def test_what_is_no_exposition_of_ours_counts_as_no_answer(text: str, endpoint: Endpoint, url: str) -> None:
    endpoint.text = f"# TYPE keepstream_paused_partitions gauge\n{text}"
    found = await asyncio.to_thread(WorkerScraper([url]).read, "orders")
    assert (found.answered, found.asked) == (0, 1)
