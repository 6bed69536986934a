"""The console's HTTP server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from keepstream.app.config.base import is_loopback
from keepstream.app.config.settings import Settings
from keepstream.app.config.web import WebSettings
from keepstream.app.errors import REFUSED, KeepstreamError
from keepstream.app.web import dead_letters, events, login, overview, replays
from keepstream.app.web.connections import (
    BACKLOG,
    HEAD_TIMEOUT_S,
    KEEPALIVE_TIMEOUT_S,
    ConnectionLimiter,
    connection_limit,
    limit_library_logs,
)
from keepstream.app.web.context import CONSOLE, Console
from keepstream.app.web.middleware import LIVENESS_PATH, authenticate, check_csrf, check_host, error_pages
from keepstream.app.web.query import Query

log = logging.getLogger(__name__)
STATIC = Path(__file__).with_name("static")
_SHUTDOWN_TIMEOUT_S = 3.0


def check_safety(settings: WebSettings) -> None:
    """Refuse unsafe settings. Raises `KeepstreamError`."""
    auth = bool(settings.users or settings.token)
    how = "set KEEPSTREAM_WEB__USERS or KEEPSTREAM_WEB__TOKEN"
    if not auth and not is_loopback(settings.host):
        why = f"without a login the console is served on loopback only, not on {settings.host}"
        raise KeepstreamError("no_login", why, how, REFUSED)
    if not auth and settings.allow_replay:
        raise KeepstreamError(
            "no_login", "without a login the console only reads: the user of a replay would be unknown", how, REFUSED
        )


def application(settings: Settings) -> web.Application:
    """Build the application. Raises `KeepstreamError` when the settings are not safe."""
    check_safety(settings.web)
    app = web.Application(
        middlewares=[error_pages, check_host, authenticate, check_csrf],
        client_max_size=settings.web.request_max_bytes,
    )
    app[CONSOLE] = Console(settings)
    for module in (overview, dead_letters, replays, events, login):
        app.add_routes(module.routes)
    app.router.add_get(LIVENESS_PATH, _alive)
    app.router.add_static("/static/", STATIC, follow_symlinks=False, show_index=False)
    app.cleanup_ctx.append(_poll)
    return app


async def _alive(_request: web.Request) -> web.Response:
    return web.Response(text="alive\n")


async def serve(settings: Settings, ready: Callable[[str], None], stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set; ``ready`` is called with the URL."""
    limit_library_logs()
    runner = web.AppRunner(
        application(settings), access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
        keepalive_timeout=KEEPALIVE_TIMEOUT_S,
    )  # fmt: skip
    await runner.setup()
    try:
        async with listen(runner, settings.web) as (host, port):
            ready(f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/")
            await stop.wait()
    finally:
        await runner.cleanup()


@asynccontextmanager
async def listen(runner: web.AppRunner, settings: WebSettings) -> AsyncIterator[tuple[str, int]]:
    """Accept connections, within limits, at the address that is yielded."""
    assert runner.server is not None  # noqa: S101 - the runner is set up
    limit = connection_limit()
    # Behind a proxy every connection has the address of the proxy.
    limiter = ConnectionLimiter(runner.server, limit, 0 if settings.public_url else limit // 4, HEAD_TIMEOUT_S)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(limiter, settings.host, settings.port, backlog=BACKLOG)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        limiter.close()


async def _poll(app: web.Application) -> AsyncIterator[None]:
    topics = app[CONSOLE].topics.values()
    polling = [asyncio.create_task(topic.poller.run()) for topic in topics]
    for topic in topics:
        await topic.facets.rows(Query(), 0)  # starts to count before the first page asks
    yield
    for task in polling:
        task.cancel()
    await asyncio.gather(*polling, return_exceptions=True)
    await asyncio.to_thread(app[CONSOLE].close)
