"""A console of several topics: each page is about one of them, and its links, forms and redirects stay with it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from keepstream.app.cli.root import root
from keepstream.app.config.settings import Settings
from keepstream.app.errors import KeepstreamError
from keepstream.app.status.snapshot import Snapshot
from keepstream.app.status.workers import WorkerMetrics
from keepstream.app.web import events, login, overview, replays
from keepstream.app.web.context import CONSOLE, Console
from keepstream.app.web.masking import Mask
from keepstream.app.web.middleware import COOKIE, authenticate, check_csrf, check_host, error_pages
from keepstream.app.web.overview import concerning
from keepstream.app.web.query import link_to, query_of
from keepstream.app.web.replay_jobs import Jobs

pytestmark = [
    pytest.mark.filterwarnings("ignore::aiohttp.web_exceptions.NotAppKeyWarning"),  # aiohttp 3.13 has no RequestKey
    pytest.mark.filterwarnings("ignore:returning HTTPException object"),
]
AWAY = "postgresql://127.0.0.1:1/none"
TWO = {"orders": {"postgres": {"url": AWAY}}, "payments": {"postgres": {"url": AWAY}}}
TOKEN = "token-token-token-token"  # noqa: S105 - for tests
Client = TestClient[web.Request, web.Application]


class Links(HTMLParser):
    """Collects where a page leads: ``links``, and ``forms`` with the fields that a browser adds to their address."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[tuple[str, str, dict[str, str]]] = []
        self.switcher: dict[str, str] = {}
        self.shown = ""
        self._nav, self._at = "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "nav":
            self._nav = given.get("aria-label", "")
        if tag == "a" and self._nav == "Topics":
            self._at = given["href"]
            self.shown = given["href"] if given.get("aria-current") else self.shown
        elif tag == "a":
            self.links.append(given["href"])
        if tag == "form":
            self.forms.append((given["method"], given["action"], {}))
        if tag == "input" and self.forms and "name" in given:
            self.forms[-1][2][given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._nav = "" if tag == "nav" else self._nav
        self._at = "" if tag == "a" else self._at

    def handle_data(self, data: str) -> None:
        if self._at and data.strip():
            self.switcher[data.strip()] = self._at


def application(topics: Any, **given: object) -> web.Application:
    """Return the pages that need no server to be shown."""
    app = web.Application(middlewares=[error_pages, check_host, authenticate, check_csrf])
    written: Any = {"kafka": {"bootstrap_servers": "127.0.0.1:1"}, "postgres": {"url": AWAY}, "web": given}
    app[CONSOLE] = Console(Settings(_env_file=None, topics=topics, **written))
    for module in (overview, events, replays, login):
        app.add_routes(module.routes)
    return app


@pytest.fixture
async def two() -> AsyncIterator[Client]:
    async with TestClient(TestServer(application(TWO))) as client:
        yield client


@pytest.fixture
async def guarded() -> AsyncIterator[Client]:
    async with TestClient(TestServer(application(TWO, token=TOKEN, allow_replay=True))) as client:
        yield client


@pytest.fixture
def idle_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dry runs are kept and do not run: there is no server."""
    monkeypatch.setattr(Jobs, "_start", lambda *_: None)


def console_of(client: Client) -> Console:
    assert isinstance(client.server, TestServer)
    return client.server.app[CONSOLE]


async def page(client: Client, path: str, **headers: str) -> tuple[int, str]:
    async with client.get(path, headers=headers, allow_redirects=False) as answer:
        return answer.status, await answer.text()


async def submit(client: Client, path: str, **fields: str) -> web.Response:
    """Send a form of a logged-in page."""
    logins = console_of(client).logins
    cookie = logins.begin("ann")
    session = logins.session(cookie)
    assert session is not None
    origin = f"http://{client.host}:{client.port}"
    async with client.post(
        path, data={"csrf": session.csrf, **fields}, allow_redirects=False,
        headers={"Cookie": f"{COOKIE}={cookie}", "Origin": origin},
    ) as answer:  # fmt: skip
        return web.Response(status=answer.status, text=await answer.text(), headers=answer.headers.copy())


def elsewhere(found: Links, topic: str) -> Iterator[str]:
    """Yield what leads away from a topic. The brand leads to all of them."""
    for link in found.links:
        if link not in ("/", "#main") and parse_qs(urlsplit(link).query).get("topic") != [topic]:
            yield link
    for method, action, fields in found.forms:
        named = fields.get("topic") if method == "get" else "".join(parse_qs(urlsplit(action).query).get("topic", []))
        if named != topic and action != "/logout":
            yield f"{method} {action}"


def test_a_link_names_its_topic_and_without_one_is_as_short_as_it_was() -> None:
    assert link_to("", "/events") == "/events"
    assert link_to("", "/events", {"event-id": "a b"}) == "/events?event-id=a+b"
    assert link_to("orders", "/", {"id": "x"}) == "/?topic=orders&id=x"


def test_selectors_keep_their_topic_in_links_and_commands() -> None:
    query = query_of([("reason", "a"), ("topic", "elsewhere")], Mask(), "orders")
    assert query.pairs == (("reason", "a"),)
    assert query.link(before="0.1") == "topic=orders&reason=a&before=0.1"
    assert query.toggled("reason", "a") == "topic=orders"
    assert query.toggled("step", "store") == "topic=orders&reason=a&step=store"
    assert query.command("dlq list") == "keepstream dlq list --topic=orders --reason=a"


@pytest.mark.parametrize("words", ["dlq list", "dlq show", "dlq replay", "events show"])
def test_the_commands_that_pages_show_take_a_topic(words: str) -> None:
    command: click.Command | None = root
    for word in words.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    assert "--topic" in {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("topics", [{}, {"orders": {}}])
async def test_one_topic_is_not_named_in_any_address(topics: dict[str, object]) -> None:
    async with TestClient(TestServer(application(topics))) as client:
        for path in ("/", "/events", "/replay?reason=a", "/nowhere"):
            _, text = await page(client, path)
            assert "topic=" not in text
            assert 'aria-label="Topics"' not in text
            assert 'name="topic"' not in text


async def test_the_name_of_the_only_topic_may_be_given_and_no_other() -> None:
    async with TestClient(TestServer(application({}))) as client:
        assert (await page(client, "/?topic=events"))[0] == 200
        assert (await page(client, "/?topic=orders"))[0] == 404


@pytest.mark.parametrize("path", ["/events", "/replay?reason=a", "/?x=1"])
async def test_all_that_a_page_leads_to_stays_with_its_topic(path: str, two: Client) -> None:
    status, text = await page(two, f"{path}{'&' if '?' in path else '?'}topic=payments")
    found = Links(text)
    assert status == 200
    assert [*elsewhere(found, "payments")] == []
    assert found.links
    assert found.switcher == {
        "All topics": "/",
        "orders": link_to("orders", urlsplit(path).path if "replay" not in path else "/dead-letters"),
        "payments": link_to("payments", urlsplit(path).path if "replay" not in path else "/dead-letters"),
    }
    assert found.shown == found.switcher["payments"]


async def test_the_forms_of_a_replay_stay_with_their_topic(guarded: Client, idle_jobs: None) -> None:
    cookie = {"Cookie": f"{COOKIE}={console_of(guarded).logins.begin('ann')}"}
    _, text = await page(guarded, "/replay?topic=payments&reason=a", **cookie)
    assert ("post", "/replay/dry-run?topic=payments") in [form[:2] for form in Links(text).forms]
    assert [*elsewhere(Links(text), "payments")] == []
    started = await submit(guarded, "/replay/dry-run?topic=payments", reason="a")
    job = started.headers["Location"]
    _, text = await page(guarded, job, **cookie)
    assert ("post", "/replay/cancel?topic=payments") in [form[:2] for form in Links(text).forms]
    assert [*elsewhere(Links(text), "payments")] == []


async def test_the_first_topic_is_that_of_a_page_that_names_none(two: Client) -> None:
    _, text = await page(two, "/events")
    assert [*elsewhere(Links(text), "orders")] == []
    _, text = await page(two, "/events?topic=")
    assert Links(text).shown == "/events?topic=orders"


async def test_another_topic_is_asked_for_the_same_event(two: Client) -> None:
    _, text = await page(two, "/events?topic=payments&event-id=e+1&csrf=x")
    assert Links(text).switcher["orders"] == "/events?topic=orders&event-id=e+1"


@pytest.mark.parametrize("path", ["/", "/events", "/replay", "/replay/edit", "/replay/job"])
async def test_an_unknown_topic_is_not_found(path: str, two: Client) -> None:
    status, text = await page(two, f"{path}?topic=unheard-of&id=x")
    assert status == 404
    assert "this console has no topic of this name" in text
    assert "it has orders, payments" in text
    assert "unheard-of" not in text


async def test_a_replay_belongs_to_its_topic(guarded: Client, idle_jobs: None) -> None:
    cookie = {"Cookie": f"{COOKIE}={console_of(guarded).logins.begin('ann')}"}
    started = await submit(guarded, "/replay/dry-run?topic=payments", reason="a")
    assert started.status == 303
    job = started.headers["Location"]
    assert job.startswith("/replay/job?topic=payments&id=")
    assert (await page(guarded, job, **cookie))[0] == 200
    job_id = parse_qs(urlsplit(job).query)["id"][0]
    for path in (f"/replay/job?id={job_id}", f"/replay/job?topic=orders&id={job_id}"):
        assert (await page(guarded, path, **cookie))[0] == 404
    for action in ("begin", "cancel"):
        assert (await submit(guarded, f"/replay/{action}?topic=orders", job=job_id, count="0")).status == 404
    assert (await submit(guarded, "/replay/cancel?topic=payments", job=job_id)).headers["Location"] == job
    assert (await submit(guarded, "/replay/dry-run?topic=unheard-of", reason="a")).status == 404


async def test_a_visitor_without_a_login_reads_the_name_of_no_topic(guarded: Client) -> None:
    for path in ("/login", "/login?topic=orders", "/nowhere", "/"):
        _, text = await page(guarded, path)
        assert "orders" not in text.replace("topic%3Dorders", "")
        assert "payments" not in text
        assert 'aria-label="Topics"' not in text


async def test_another_host_name_is_told_no_topic(two: Client) -> None:
    status, text = await page(two, "/", Host="evil.example")
    assert status == 421
    assert "orders" not in text


def row_of(text: str, topic: str) -> str:
    """Return the cells of a topic's row in the table of all topics."""
    row = text.partition(f'<td data-name="Topic"><a href="/?topic={topic}">')[2].partition("</tr>")[0]
    cells = f"<a>{row}".split("</td>")[:-1]
    return " ".join(unescape(re.sub("<[^>]*>", "", cell)) for cell in cells)


async def test_a_database_that_is_away_shows_in_the_row_of_its_topic_only(two: Client) -> None:
    orders, payments = (console_of(two).topics[name].poller for name in ("orders", "payments"))
    orders.snapshots.append(Snapshot(1.0, {}, {0: (0, 99)}))
    orders.workers = WorkerMetrics(answered=1, asked=1, paused=3)
    orders.error = KeepstreamError("postgres_unreachable", "PostgreSQL cannot be reached at db:5432", "start it")
    payments.snapshots.extend(Snapshot(at, {}, {0: (0, end)}) for at, end in ((1.0, 70), (2.0, 77)))
    payments.workers = WorkerMetrics(answered=1, asked=1)
    status, text = await page(two, "/")
    assert status == 200
    unknown = " ".join(["\N{EN DASH}"] * 5)
    assert row_of(text, "orders") == f"orders {unknown} 3 PostgreSQL cannot be reached at db:5432: start it"
    assert row_of(text, "payments") == "payments 7/s 0/s 77 stands still \N{HORIZONTAL ELLIPSIS} 0 "
    assert Links(text).shown == "/"
    assert '<a href="/dead-letters?topic=payments">' in text


@pytest.mark.parametrize(
    ("why", "shown_for"),
    [
        ("Kafka: it does not answer", {"orders", "orders.eu", "payments"}),
        ("PostgreSQL of orders: it does not answer", {"orders"}),
        ("2 partitions are paused; orders.eu-1: no such table", {"orders.eu"}),
        ("there is no topic 'payments'", {"payments"}),
        ("PostgreSQL of orders: it does not answer; 1 partitions are paused; payments-0: x", {"orders", "payments"}),
    ],
)
def test_a_worker_that_is_not_ready_is_shown_where_it_matters(why: str, shown_for: set[str]) -> None:
    topics = ["orders", "orders.eu", "payments"]
    assert {topic for topic in topics if concerning(topic, topics, {"worker": why})} == shown_for
    assert concerning("events", ["events"], {"worker": why})
