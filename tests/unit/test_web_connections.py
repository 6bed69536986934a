"""Limits on connections to the console: half a request keeps nobody away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from keepstream.app.web.connections import ConnectionLimiter, RepeatedLines

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = REQUEST[:20]
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def served(
    *, limit: int = 8, per_address: int = 0, head_timeout_s: float = 60, keepalive_s: float = 60
) -> AsyncIterator[int]:
    """Serve a page on the port that is yielded."""
    app = web.Application()

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="the page")

    app.router.add_get("/", page)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, keepalive_timeout=keepalive_s)
    await runner.setup()
    assert runner.server is not None
    limiter = ConnectionLimiter(runner.server, limit, per_address, head_timeout_s)
    server = await asyncio.get_running_loop().create_server(limiter, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        limiter.close()
        await runner.cleanup()


async def opened(port: int, sent: bytes) -> Stream:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    await writer.drain()
    return reader, writer


async def answer(stream: Stream) -> bytes:
    """Return the status line; b"" when the connection was closed instead."""
    try:
        return await asyncio.wait_for(stream[0].readline(), 10)
    except ConnectionError:
        return b""


async def close_all(streams: list[Stream]) -> None:
    for _, writer in streams:
        writer.close()


@pytest.mark.parametrize("limits", [{"limit": 8}, {"limit": 100, "per_address": 8}])
async def test_half_open_connections_keep_nobody_away(limits: dict[str, int]) -> None:
    async with served(**limits) as port:
        half_open = [await opened(port, HALF) for _ in range(40)]
        page = await opened(port, REQUEST)
        assert await answer(page) == b"HTTP/1.1 200 OK\r\n"
        assert [await answer(one) for one in half_open[:30]] == [b""] * 30
        await close_all([*half_open, page])


async def test_a_head_that_does_not_end_is_not_waited_for() -> None:
    async with served(head_timeout_s=0.05) as port:
        silent, half = await opened(port, b""), await opened(port, HALF)
        assert [await answer(silent), await answer(half)] == [b"", b""]
        await close_all([silent, half])


async def test_a_head_that_comes_in_pieces_is_answered_and_so_is_the_next_request() -> None:
    async with served() as port:
        stream = await opened(port, HALF)
        for request in (REQUEST[20:], REQUEST):
            stream[1].write(request)
            assert await answer(stream) == b"HTTP/1.1 200 OK\r\n"
            assert (await stream[0].readuntil(b"the page")).endswith(b"the page")
        await close_all([stream])


async def test_the_head_of_a_later_request_is_not_waited_for_either() -> None:
    async with served(keepalive_s=0.2) as port:
        stream = await opened(port, REQUEST)
        assert await answer(stream) == b"HTTP/1.1 200 OK\r\n"
        await stream[0].readuntil(b"the page")
        stream[1].write(HALF)
        assert await answer(stream) == b""
        await close_all([stream])


async def test_connections_in_use_are_not_closed_for_new_ones() -> None:
    async with served(limit=2) as port:
        in_use = [await opened(port, REQUEST) for _ in range(2)]
        assert [await answer(one) for one in in_use] == [b"HTTP/1.1 200 OK\r\n"] * 2
        refused = await opened(port, REQUEST)
        assert await answer(refused) == b""
        await close_all([*in_use, refused])


async def test_a_head_without_an_end_is_refused() -> None:
    async with served() as port:
        stream = await opened(port, b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000)
        assert b" 400 " in await answer(stream)
        await close_all([stream])


def test_a_line_that_repeats_is_written_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    logger = logging.getLogger("keepstream.tests.repeated")
    only_some = RepeatedLines(60, lambda: now[0])
    logger.addFilter(only_some)
    for number in range(1000):
        logger.error("socket.accept() out of system resource %d", number)
    logger.error("something else")
    now[0] = 61.0
    logger.error("socket.accept() out of system resource %d", 0)
    logger.removeFilter(only_some)
    assert [record.getMessage() for record in caplog.records] == [
        "socket.accept() out of system resource 0", "something else",
        "socket.accept() out of system resource 0 (and 999 more of these)",
    ]  # fmt: skip
