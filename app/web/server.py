"""The console as a process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web

from keepstream.app.config.settings import Settings
from keepstream.app.config.web import WebSettings
from keepstream.app.errors import REFUSED, KeepstreamError
from keepstream.app.web import dead_letters as letters
from keepstream.app.web import events, overview, replays
from keepstream.app.web import login as entrance
from keepstream.app.web.context import CONSOLE, Console
from keepstream.app.web.middleware import authenticate, careful, check_csrf, check_host, is_loopback
from keepstream.app.web.overview import PULSE
from keepstream.app.web.poller import Pulse
from keepstream.app.web.query import Query

log = logging.getLogger(__name__)
STATIC = Path(__file__).with_name("static")


def check_safety(settings: WebSettings) -> None:
    """Refuse what nobody should serve. Raises `KeepstreamError`."""
    auth = bool(settings.users or settings.token)
    how = "set KEEPSTREAM_WEB__USERS or KEEPSTREAM_WEB__TOKEN"
    if not auth and not is_loopback(settings.host):
        why = f"without a login the console is served on loopback only, not on {settings.host}"
        raise KeepstreamError("no_login", why, how, REFUSED)
    if not auth and settings.allow_replay:
        raise KeepstreamError(
            "no_login", "without a login the console only reads: nobody could say who replayed", how, REFUSED
        )


def application(settings: Settings) -> web.Application:
    """Build the application. Raises `KeepstreamError` when the settings are not safe."""
    check_safety(settings.web)
    app = web.Application(
        middlewares=[careful, check_host, authenticate, check_csrf],
        client_max_size=settings.web.request_max_bytes,
    )
    app[CONSOLE] = console = Console(settings)
    app[PULSE] = Pulse(console.services)
    for module in (overview, letters, replays, events, entrance):
        app.add_routes(module.routes)
    app.router.add_static("/static/", STATIC, follow_symlinks=False, show_index=False)
    app.cleanup_ctx.append(_pulse)
    return app


async def serve(settings: Settings, ready: Callable[[str], None], stop: asyncio.Event) -> None:
    """Serve until told to stop; ``ready`` hears the address."""
    runner = web.AppRunner(application(settings), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.web.host, settings.web.port, shutdown_timeout=3)
        await site.start()
        host, port = runner.addresses[0][:2]
        ready(f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/")
        await stop.wait()
    finally:
        await runner.cleanup()


async def _pulse(app: web.Application) -> AsyncIterator[None]:
    beating = asyncio.create_task(app[PULSE].run())
    await app[CONSOLE].facets.rows(Query(), 0)  # begins to count, so that the first page need not wait for it
    yield
    beating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beating
    await asyncio.to_thread(app[CONSOLE].close)
