"""Requests to the console before a page sees them: sessions, bearer tokens, forms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from keepstream.app.config.settings import Settings
from keepstream.app.config.web import WebSettings
from keepstream.app.web import login, middleware, replays
from keepstream.app.web.context import CONSOLE, Console, session_of
from keepstream.app.web.middleware import COOKIE, authenticate, check_csrf, check_host, error_pages

pytestmark = [
    pytest.mark.filterwarnings("ignore::aiohttp.web_exceptions.NotAppKeyWarning"),  # aiohttp 3.13 has no RequestKey
    pytest.mark.filterwarnings("ignore:returning HTTPException object"),
]
TOKEN = "token-token-token-token"  # noqa: S105 - for tests
Client = TestClient[web.Request, web.Application]


def application(**given: object) -> web.Application:
    """Return the console's middleware in front of a page that says who asks."""
    app = web.Application(middlewares=[error_pages, check_host, authenticate, check_csrf])
    app[CONSOLE] = Console(Settings(_env_file=None, web=WebSettings(**given)))

    async def page(request: web.Request) -> web.Response:
        session = session_of(request)
        return web.Response(text=session.user if session else "nobody")

    app.router.add_get("/", page)
    app.add_routes(login.routes)
    app.add_routes(replays.routes)
    return app


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with TestClient(TestServer(application(token=TOKEN, allow_replay=True))) as one:
        yield one


def session_cookie(client: Client) -> dict[str, str]:
    assert isinstance(client.server, TestServer)
    return {"Cookie": f"{COOKIE}={client.server.app[CONSOLE].logins.begin('ann')}"}


async def get(client: Client, path: str = "/", **headers: str) -> tuple[int, str]:
    async with client.get(path, headers=headers, allow_redirects=False) as answer:
        return answer.status, await answer.text()


async def test_a_password_for_the_proxy_locks_nobody_out(client: Client) -> None:
    basic = {"Authorization": "Basic YW5uOnB3"}
    for _ in range(8):
        assert await get(client, **session_cookie(client), **basic) == (200, "ann")
        assert (await get(client, **basic))[0] == 303, "to the login"
    assert await get(client, Authorization=f"Bearer {TOKEN}") == (200, "token")


async def test_a_wrong_token_beside_a_session_is_no_failed_login(client: Client) -> None:
    for _ in range(8):
        assert await get(client, **session_cookie(client), Authorization="Bearer x") == (200, "ann")


async def test_wrong_tokens_are_counted_as_failed_logins(client: Client) -> None:
    guesses = [(await get(client, Authorization="Bearer x"))[0] for _ in range(6)]
    assert guesses == [401] * 5 + [429]
    assert (await get(client, Authorization=f"Bearer {TOKEN}"))[0] == 429


async def test_a_console_without_a_token_ignores_tokens() -> None:
    async with TestClient(TestServer(application())) as client:
        assert [await get(client, Authorization="Bearer x") for _ in range(8)] == [(200, "nobody")] * 8


async def test_a_form_that_does_not_arrive_is_not_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "BODY_TIMEOUT_S", 0.05)
    origin = f"http://{client.host}:{client.port}"
    headers = {"Origin": origin, "Content-Type": "application/x-www-form-urlencoded", "Content-Length": "100"}

    async def half() -> AsyncIterator[bytes]:
        yield b"name=ann"
        await asyncio.Event().wait()

    async with client.post("/login", data=half(), headers=headers, allow_redirects=False) as answer:
        assert answer.status == 408


async def test_a_replay_of_what_was_selected_needs_a_selection(client: Client) -> None:
    status, page = await get(client, "/replay?selected=1", **session_cookie(client))
    assert status == 400
    assert "no dead letter is selected" in page
    assert "Every dead letter" not in page
    assert (await get(client, "/replay?selected=1&id=events-0-1", **session_cookie(client)))[0] == 200
