"""Each page in a browser: for eyes, for keyboards, for screen readers, without JavaScript, on a phone."""

from __future__ import annotations

import functools
import http.server
import re
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from keepstream.schemas.record import header
from tests.acceptance.browser import PHONE, screenshot, serious_issues, visitor
from tests.acceptance.console import MAY_REPLAY, NAME, ConsoleProcess, console
from tests.acceptance.dead_letters import SeededTopic
from tests.builders import make_value
from tests.real import Kafka, Postgres, Servers, eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

NAMES = (
    "overview",
    "list",
    "filtered",
    "empty",
    "letter",
    "replay",
    "edit",
    "job",
    "events",
    "event",
    "login",
    "trouble",
)


@pytest.fixture(scope="module")
def shared_dlq(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeededTopic]:
    with Postgres(servers.postgres_url).new_schema() as database:
        dlq = SeededTopic(Kafka(servers.bootstrap_servers), database, tmp_path_factory.mktemp("shared_dlq"))
        dlq.environment = {"KEEPSTREAM_KAFKA__TOPIC": dlq.kafka.new_topic(2)}
        for number in range(60):
            reason = "schema_invalid" if number % 4 == 0 else "check_violation"
            dlq.add(number, value=make_value(event_id=f"e-{number}"), reason=reason, message="x" * (number * 3))
        yield dlq


@pytest.fixture(scope="module")
def running(shared_dlq: SeededTopic) -> Iterator[ConsoleProcess]:
    with console({**shared_dlq.settings(), **MAY_REPLAY}) as started:
        started.log_in()
        yield started


@pytest.fixture(scope="module")
def paths(shared_dlq: SeededTopic, running: ConsoleProcess) -> dict[str, str]:
    job = running.submit("/replay/dry-run", reason="schema_invalid", set="payload.amount=7").headers["location"]
    eventually(lambda: "What would happen" in running.get(job).text, 20)
    place = f"{shared_dlq.topic}-0-7"
    filtered = "/dead-letters?reason=schema_invalid&where=a%3Db&step=store"
    found = ["/", "/dead-letters?limit=12", filtered, "/dead-letters?key=none",
             f"/dead-letter?id={place}", "/replay?id=events-0-7", f"/replay/edit?id={place}", job, "/events",
             "/events?event-id=e-7", "/login", "/dead-letters?since=nonsense"]  # fmt: skip
    return dict(zip(NAMES, found, strict=True))


@pytest.fixture(scope="module")
def desk(browser: Browser, running: ConsoleProcess) -> Iterator[Page]:
    with visitor(browser, running) as page:
        yield page


@pytest.fixture(scope="module")
def phone(browser: Browser, running: ConsoleProcess) -> Iterator[Page]:
    with visitor(browser, running, viewport=PHONE, is_mobile=True, color_scheme="dark") as page:
        yield page


def show(page: Page, path: str) -> None:
    """Open a page; the login is seen without a cookie only."""
    kept: Any = page.context.cookies()
    if path == "/login":
        page.context.clear_cookies()
    answer = page.goto(path)
    assert answer
    assert answer.status == (400 if "nonsense" in path else 200), page.content()
    page.context.add_cookies(kept)


@pytest.mark.parametrize("name", NAMES)
def test_each_page_has_a_title_and_one_heading_and_axe_finds_no_serious_issue(
    name: str, desk: Page, paths: dict[str, str]
) -> None:
    show(desk, paths[name])
    assert desk.title().endswith(" \N{MIDDLE DOT} keepstream")
    assert desk.locator("h1").count() == 1
    assert desk.locator("main").count() == 1
    assert serious_issues(desk) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_phone_in_dark_mode_shows_each_page_without_scrolling_sideways_and_axe_finds_no_serious_issue(
    name: str, phone: Page, paths: dict[str, str], tmp_path: Path
) -> None:
    show(phone, paths[name])
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert serious_issues(phone) == []
    if name == "overview":
        screenshot(phone, f"phone-{name}", tmp_path)


def test_reading_needs_no_javascript(browser: Browser, running: ConsoleProcess) -> None:
    with visitor(browser, running, java_script_enabled=False) as page:
        page.goto("/dead-letters")
        assert page.locator("tbody tr").count() == 50
        page.get_by_role("link", name="Older »").click()
        assert page.locator("tbody tr").count() == 10
        page.get_by_role("link", name="« Newest").click()
        page.get_by_role("link", name="schema_invalid 15").click()
        assert page.locator("tbody tr").count() == 15
        page.locator("td.id a").first.click()
        assert page.get_by_label("Payload, pretty").is_visible()
        page.get_by_role("link", name="e-56", exact=True).click()
        assert page.locator("tbody tr").count() == 1


def test_a_dry_run_needs_no_javascript_either(browser: Browser, running: ConsoleProcess) -> None:
    with visitor(browser, running, java_script_enabled=False) as page:
        page.goto("/dead-letters?reason=schema_invalid")
        page.locator("tbody input").first.check()
        page.locator("tbody input").nth(1).check()
        page.get_by_role("button", name="Replay selected…").click()
        page.get_by_role("button", name="Dry run").click()
        page.locator("h2", has_text="What would happen").wait_for(timeout=20_000)
        assert "Selected2" in page.locator(".figures").inner_text().replace("\n", "")


def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser: Browser, running: ConsoleProcess) -> None:
    focused = (
        "(() => { const e = document.activeElement; return [e.tagName, e.name || e.textContent.trim()].join(' ') })()"
    )
    with visitor(browser, running) as page:
        page.goto("/dead-letters")
        seen = []
        for _ in range(45):
            page.keyboard.press("Tab")
            seen.append(page.evaluate(focused))
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", seen[-1]
        assert seen[0] == "A Skip to content"
        wanted = ("A Overview", "INPUT event-id", "INPUT reason", "SUMMARY More", "BUTTON Filter", "INPUT id")
        assert [word for word in wanted if word not in seen] == []
        assert any(word.startswith("A check_violation") for word in seen)
        assert any(word.startswith("A events-0-") for word in seen)
        page.goto("/dead-letters")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_a_filter_is_a_link_that_can_be_shared(browser: Browser, running: ConsoleProcess) -> None:
    with visitor(browser, running) as page:
        page.goto("/dead-letters")
        page.get_by_label("Event id").fill("e-3")
        page.get_by_role("button", name="Filter").click()
        assert page.locator("tbody tr").count() == 1
        shared = page.url
    with visitor(browser, running) as page:
        page.goto(shared)
        assert page.get_by_label("Event id").input_value() == "e-3"
        assert page.locator("tbody tr").count() == 1
        assert "keepstream dlq list --event-id=e-3" in page.locator(".command").inner_text()


def test_a_link_from_another_site_keeps_the_login(browser: Browser, running: ConsoleProcess, tmp_path: Path) -> None:
    """SameSite=Strict keeps the cookie back at first; the page then asks again by itself."""
    (tmp_path / "index.html").write_text(f'<a href="{running.url}/dead-letters?event-id=e-3">the chat</a>')
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    serve.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as chat:
        threading.Thread(target=chat.serve_forever, daemon=True).start()
        with visitor(browser, running) as page:
            page.goto(f"http://localhost:{chat.server_port}/")
            page.get_by_role("link", name="the chat").click()
            page.locator("td.id").wait_for(timeout=10_000)
        chat.shutdown()


def test_the_overview_keeps_itself_up_to_date(
    browser: Browser, running: ConsoleProcess, shared_dlq: SeededTopic
) -> None:
    from playwright.sync_api import expect

    topic = shared_dlq.environment["KEEPSTREAM_KAFKA__TOPIC"]
    with visitor(browser, running) as page:
        page.goto("/")
        page.evaluate("window.sameDocument = true")
        expect(page.locator("#lag")).to_have_text("0", timeout=10_000)
        shared_dlq.kafka.produce(topic, [b"{}"] * 40)
        expect(page.locator("#lag")).to_have_text("40", timeout=10_000)
        assert page.evaluate("window.sameDocument") is True
        assert page.locator("polyline.in").get_attribute("points")


def test_a_command_is_copied_as_it_is_shown(browser: Browser, running: ConsoleProcess) -> None:
    with visitor(browser, running, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto("/dead-letters?event-id=it's%20odd")
        page.get_by_role("button", name="Copy").click()
        page.get_by_role("button", name="Copied").wait_for()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == page.locator(".command code").inner_text()
        assert shlex.split(copied) == ["keepstream", "dlq", "list", "--event-id=it's odd"]


def test_a_replay_is_slowed_down_and_cancelled_and_its_sum_still_adds_up(
    browser: Browser, running: ConsoleProcess, shared_dlq: SeededTopic
) -> None:
    from playwright.sync_api import expect

    target = shared_dlq.environment["KEEPSTREAM_KAFKA__TOPIC"]
    with visitor(browser, running) as page:
        page.goto("/replay?reason=schema_invalid")
        page.get_by_label("Records per second").fill("2")
        page.get_by_label("To topic").fill(target)
        page.get_by_role("button", name="Dry run").click()
        page.get_by_label("Type the count").fill("15")
        page.get_by_role("button", name="Replay", exact=True).click()
        expect(page.locator("#worked")).to_have_text(re.compile(r"^[1-9]\d* of 15 dead letters"), timeout=20_000)
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("h1")).to_contain_text("Cancelled", timeout=20_000)
        selected, *parts = map(int, re.findall(r"\d+", page.locator(".sum").inner_text()))
        assert selected == sum(parts)
        assert 0 < parts[0] < 15
        expect(page.locator(".command").first).to_contain_text("keepstream dlq replay --resume 1")
    sent = [record for record in shared_dlq.kafka.read(target) if header(record, "keepstream.dlq.replayed-by")]
    assert len(sent) == parts[0]
    assert {header(record, "keepstream.dlq.replayed-by") for record in sent} == {NAME}
