"""One console of two topics, of which one has its PostgreSQL away."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.acceptance.browser import PHONE, screenshot, serious_issues, visitor
from tests.acceptance.conftest import System
from tests.acceptance.console import MAY_REPLAY, ConsoleProcess, Page, console
from tests.acceptance.dead_letters import nowhere
from tests.builders import make_value
from tests.real import eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

OF_ONE_TOPIC = ("KAFKA__TOPIC", "KAFKA__DLQ_TOPIC", "POSTGRES__URL", "POSTGRES__SCHEMA_NAME")


@pytest.fixture
def system(new_system: Callable[..., System]) -> System:
    """The topic that works, with a worker: three events, and one that is no event."""
    system = new_system()
    system.cli("topics", "ensure")
    system.start_worker()
    system.produce(make_value(event_id=f"good-{n}") for n in range(3))
    system.produce([make_value(event_id="odd", payload="seven")])
    system.settled(4)
    return system


@contextmanager
def console_beside(system: System, first: str, url: str, *missing: str) -> Iterator[ConsoleProcess]:
    """Run a console of the system's topic, and before it ``first``, whose PostgreSQL is at ``url``."""
    own = {"url": system.database.url, "schema_name": system.database.schema}
    topics: dict[str, object] = {
        first: {"dlq_topic": system.kafka.new_topic(1, "first-dlq"), "postgres": {"url": url}},
        system.topic: {"dlq_topic": system.dlq_topic, "postgres": own},
        **{topic: {} for topic in missing},
    }
    shared = {name: value for name, value in system.settings().items() if not name.endswith(OF_ONE_TOPIC)}
    worker = {"KEEPSTREAM_WEB__WORKER_URLS": f'["http://127.0.0.1:{system.workers[0]._port()}/metrics"]'}
    with console({**shared, **MAY_REPLAY, **worker, "KEEPSTREAM_TOPICS": json.dumps(topics)}) as running:
        running.log_in()
        yield running


def row_of(page: Page, topic: str) -> list[str]:
    """Return the cells of a topic in the overview."""
    row = page.text.partition(f'<td data-name="Topic"><a href="/?topic={topic}">')[2].partition("</tr>")[0]
    return [unescape(re.sub("<[^>]*>", "", cell)).strip() for cell in re.split("</td>", f"<a>{row}")][:-1]


def test_a_dead_letter_is_found_edited_and_replayed_while_the_database_of_the_first_topic_is_away(
    system: System,
) -> None:
    first, here = system.kafka.new_topic(1, "orders"), f"topic={system.topic}"
    with console_beside(system, first, f"postgresql://{nowhere()}/none") as running:
        eventually(
            lambda: row_of(running.get("/"), system.topic)[3:7] == ["0", "now", "1", "0"], 20, "the second reads"
        )
        eventually(
            lambda: "PostgreSQL cannot be reached" in row_of(running.get("/"), first)[-1], 20, "the first says why"
        )
        assert row_of(running.get("/"), first)[:6] == [first, *["\N{EN DASH}"] * 5]
        assert "PostgreSQL" not in " ".join(row_of(running.get("/"), system.topic))
        assert "PostgreSQL" not in running.get(f"/?{here}").text
        assert "PostgreSQL cannot be reached" in running.get(f"/?topic={first}").text
        assert "PostgreSQL cannot be reached" in running.get("/dead-letters").text, "of the first topic"

        listed = running.get(f"/dead-letters?{here}").text
        links = [
            unescape(link) for link in re.findall(r'<td data-name="Dead letter" class="id"><a href="([^"]+)"', listed)
        ]
        assert len(links) == 1
        shown = running.get(links[0])
        assert "seven" in shown.text
        assert f"keepstream dlq show --topic={system.topic} -- " in shown.text
        assert running.get(links[0].replace(system.topic, first, 1)).status in (404, 503), "it is not the first topic's"

        edit = running.get(links[0].replace("/dead-letter?", "/replay/edit?")).text
        action, record_id = (
            re.findall(r'action="(/replay/edit[^"]*)"', edit)[0],
            re.findall(r'name="id" value="([^"]+)', edit)[0],
        )
        started = running.submit(action, id=record_id, value=make_value(event_id="odd", payload={"amount": 7}).decode())
        assert started.status == 303, started.text
        job = started.headers["location"]
        eventually(lambda: "Type the count" in running.get(job).text, 20, "the dry run ends")
        begun = running.submit(f"/replay/begin?{here}", job=job.rpartition("=")[2], count="1")
        assert begun.headers["location"] == job
        eventually(lambda: "<b>1</b> delivered, <b>0</b> dead-lettered again" in running.get(job).text, 30)
        assert "Its row" in running.get(f"/events?{here}&event-id=odd").text
        audit = [json.loads(line)["event"] for line in running.said if '"keepstream.audit"' in line]
        assert [line for line in audit if line.startswith("replay ") and f"topic='{system.topic}'" in line]
    system.assert_consistent()


def test_pages_of_a_topic_whose_database_does_not_answer_keep_no_other_topic_waiting(system: System) -> None:
    first = system.kafka.new_topic()
    with socket.socket() as silent:  # it takes connections, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen(128)
        url = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/none"
        with console_beside(system, first, url) as running:
            eventually(lambda: row_of(running.get("/"), system.topic)[3] == "0", 20, "the second reads")
            waiting = [
                threading.Thread(target=running.get, args=(f"/events?topic={first}&event-id=x",)) for _ in range(20)
            ]
            for visitor in waiting:
                visitor.start()
            time.sleep(0.5)
            for path in ("/", f"/?topic={system.topic}", f"/dead-letters?topic={system.topic}",
                         f"/events?topic={system.topic}&event-id=good-1"):  # fmt: skip
                began = time.monotonic()
                assert running.get(path).status == 200
                assert time.monotonic() - began < 2, path
            assert any(visitor.is_alive() for visitor in waiting), "else none of them was kept waiting"
            for visitor in waiting:
                visitor.join(60)


ON_A_PHONE = {"viewport": PHONE, "is_mobile": True, "color_scheme": "dark"}


@pytest.mark.parametrize(("options", "missing"), [({}, "invoices"), (ON_A_PHONE, "a.topic-that_nobody.created" * 9)])
def test_the_overview_of_topics_has_no_serious_issue_and_fits_a_phone(
    options: dict[str, object], missing: str, system: System, browser: Browser, tmp_path: Path
) -> None:
    first = system.kafka.new_topic(1, "orders")
    with (
        console_beside(system, first, f"postgresql://{nowhere()}/none", missing) as running,
        visitor(browser, running, **options) as page,
    ):
        eventually(lambda: all(row_of(running.get("/"), one)[-1] for one in (first, missing)), 20)
        for path in ("/", f"/?topic={missing}", "/events"):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("window.innerWidth")
            assert serious_issues(page) == []
        page.get_by_role("navigation", name="Topics").get_by_role("link", name=system.topic).click()
        assert page.url.endswith(f"/events?topic={system.topic}")
        page.get_by_label("Event id").fill("odd")
        page.get_by_role("button", name="Find").click()
        page.get_by_role("link", name=f"{system.topic}-0-3").click()
        assert "seven" in page.get_by_label("Payload, pretty").inner_text()
        page.get_by_role("link", name="Overview").click()
        assert page.locator("h1").inner_text() == f"Overview {system.topic}"
        page.get_by_role("link", name="All topics").click()
        page.get_by_role("row", name=system.topic).get_by_role("link", name="1", exact=True).click()
        assert page.locator("tbody tr").count() == 1
        page.goto("/")
        if not options:
            screenshot(page, "topics", tmp_path)
