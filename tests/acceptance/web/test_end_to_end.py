"""The whole story in a browser: a fault, dead letters, finding, dry run, editing, replay, delivered."""

from __future__ import annotations

import functools
import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.acceptance.browser import screenshot, visitor
from tests.acceptance.conftest import System
from tests.acceptance.console import MAY_REPLAY, NAME, PASSWORD, console
from tests.acceptance.test_dlq_replay import ALLOW, FORBID
from tests.builders import make_value
from tests.real import eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def test_from_an_error_to_delivered_in_the_browser(  # noqa: PLR0915 - it is one story
    new_system: Callable[..., System], browser: Browser, tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    system = new_system(partitions=4)
    system.cli("topics", "ensure")
    system.database.execute(FORBID)
    worker = system.start_worker(KEEPSTREAM_WORKER__STORE_RETRY__MAX_RETRIES="0")
    system.produce(make_value(event_id=f"good-{n}") for n in range(180))
    system.produce(make_value(event_id=f"dear-{n}", payload={"amount": 1000 + n}) for n in range(12))
    system.produce([make_value(event_id="odd", payload="seven", correlation_id="order-7")])
    system.produce(make_value(event_id="good-1") for _ in range(7))
    system.settled(200)
    worker_url = f"http://127.0.0.1:{worker._port()}/metrics"
    settings = {**system.settings(), **MAY_REPLAY, "KEEPSTREAM_WEB__WORKER_URLS": f'["{worker_url}"]'}
    with ExitStack() as stack, console(settings) as running, visitor(browser, running) as page:
        log_in(page)
        screen = functools.partial(screenshot, page, folder=tmp_path)
        expect(page.locator("#open")).to_have_text("13", timeout=15_000)
        expect(page.locator("#delivered")).to_have_text("180")
        expect(page.locator("#workers")).to_have_text("1 of 1 answer")
        busy = stack.enter_context(traffic(system))

        page.get_by_role("link", name="Dead letters", exact=True).click()
        expect(page.locator("tbody tr")).to_have_count(13)
        page.get_by_role("link", name="check_violation 12").click()
        expect(page).to_have_url(re.compile(r"/dead-letters\?reason=check_violation$"))
        expect(page.locator("tbody tr")).to_have_count(12)
        screen("dead-letters")
        page.locator("td.id a").first.click()
        expect(page.locator("h1")).to_contain_text("open")
        expect(page.get_by_label("Payload, pretty")).to_contain_text('"amount": 10')

        page.goto("/dead-letters?reason=check_violation")
        page.get_by_role("link", name="Replay all that match…").click()
        page.get_by_role("button", name="Dry run").click()
        expect(page.locator("h2", has_text="What would happen")).to_be_visible(timeout=20_000)
        system.database.execute(ALLOW)
        page.get_by_label("Type the count").fill("11")
        page.get_by_role("button", name="Replay", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("that is not what was typed")
        assert system.database.value("SELECT count(*) FROM replays") == 0
        page.get_by_label("Type the count").fill("12")
        page.get_by_role("button", name="Replay", exact=True).click()
        expect(page.locator("h1")).to_contain_text("Replayed", timeout=30_000)
        expect(page.locator(".sum")).to_have_text("selected 12 = replayed 12 + skipped 0 + failed 0")
        expect(page.locator("main")).to_contain_text("12 delivered, 0 dead-lettered again")
        screen("replay-done")

        mend_the_odd_one(page, screen)

        page.get_by_role("link", name="Events", exact=True).click()
        page.get_by_label("Correlation id").fill("order-7")
        page.get_by_role("button", name="Find").click()
        page.get_by_role("link", name="odd", exact=True).click()
        expect(page.locator("h2", has_text="Its row")).to_contain_text("delivered")
        expect(page.get_by_label("Payload")).to_contain_text('"amount": 7')
        page.get_by_role("link", name="Overview").click()
        expect(page.locator("#open")).to_have_text("0", timeout=15_000)
        expect(page.locator("main")).to_contain_text("finished")
        screen("overview")
        stack.close()
        eventually(lambda: system.database.totals()["delivered"] == 193 + len(busy))
    system.assert_consistent()


@contextmanager
def traffic(system: System) -> Iterator[list[str]]:
    """Produce events beside the story, so that there is something to see; yield their ids."""
    produced: list[str] = []
    over = threading.Event()

    def produce() -> None:
        while not over.wait(0.5):
            ids = [f"busy-{len(produced) + n}" for n in range(int(60 + 40 * math.sin(len(produced) / 300)))]
            system.produce(make_value(event_id=event_id) for event_id in ids)
            produced.extend(ids)

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        yield produced
    finally:
        over.set()
        thread.join(60)


def mend_the_odd_one(page: Page, screen: Callable[[str], None]) -> None:
    """Find the last letter, see what is wrong with it, edit it, see the difference, replay it."""
    from playwright.sync_api import expect

    page.get_by_role("link", name="Dead letters", exact=True).first.click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("td.id a").first.click()
    expect(page.locator("mark")).to_contain_text('"payload": "seven"')
    screen("dead-letter")
    page.get_by_role("link", name="Edit and replay…").click()
    field = page.get_by_label("Value")
    field.fill(field.input_value().replace('"seven"', '{"amount": 7}'))
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator(".diff")).to_contain_text('-  "payload": "seven"', timeout=20_000)
    expect(page.locator(".diff .plus", has_text='"amount": 7')).to_be_visible()
    screen("replay-edit")
    page.get_by_label("Type the count").fill("1")
    page.get_by_role("button", name="Replay", exact=True).click()
    expect(page.locator("main")).to_contain_text("1 delivered, 0 dead-lettered again", timeout=30_000)


def log_in(page: Page) -> None:
    page.goto("/dead-letters")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Overview").click()
