"""Paging through dead letters: each once, in bounded time, and past what does not match."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.dlq_list import fill
from benchmarks.web_list import remember, why
from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.config.postgres import PostgresSettings
from keepstream.app.config.settings import Settings
from keepstream.app.connect.services import Services
from keepstream.app.dlq.page import Cursor, Page, list_page
from keepstream.app.dlq.selectors import parse_query
from keepstream.app.dlq.topic import DeadLetterTopic, open_dead_letter_topic
from tests.acceptance.console import console
from tests.acceptance.dead_letters import SeededTopic, nowhere, without_postgres
from tests.real import eventually

pytestmark = pytest.mark.real

LETTERS = 6000
"""One a second: the rare one, number 7, died an hour and a half before the last."""


@contextmanager
def open_topic(dlq: SeededTopic) -> Iterator[DeadLetterTopic]:
    settings = Settings(
        kafka=KafkaSettings(bootstrap_servers=dlq.kafka.bootstrap_servers, dlq_topic=dlq.topic),
        postgres=PostgresSettings(url=dlq.database.url, schema_name=dlq.database.schema),
    )
    with open_dead_letter_topic(Services(settings), notify=print) as topic:
        yield topic


def page(dlq: SeededTopic, size: int, start: Cursor | None = None, budget_s: float = 5.0, **given: Any) -> Page:
    with open_topic(dlq) as topic:
        return list_page(topic, parse_query(given), size, start, budget_s)


def ids(found: Page) -> list[str]:
    return [letter.id for letter, _ in found.found]


def test_pages_show_each_dead_letter_once_and_new_ones_shift_nothing(new_dlq: Callable[..., SeededTopic]) -> None:
    dlq = new_dlq(3)
    for number in range(65):
        dlq.add(number, partition=number % 3)
    seen: list[str] = []
    start: Cursor | None = None
    for number in range(100, 110):
        found = page(dlq, 20, start)
        seen += ids(found)
        if found.exhausted:
            break
        start = found.following
        dlq.add(number, partition=number % 3)
    assert [int(one.rpartition("-")[2]) for one in seen] == [*range(64, -1, -1)]
    assert ids(page(dlq, 1)) != seen[:1]


def test_what_arrives_is_on_no_later_page(new_dlq: Callable[..., SeededTopic]) -> None:
    dlq = new_dlq(3)
    for number in range(6):
        dlq.add(number, state="open" if number < 3 else None, partition=number // 3)
    first = page(dlq, 2)
    dlq.add(100, partition=0)
    dlq.add(101, partition=2, state=None)
    assert ids(first) + ids(page(dlq, 20, first.following)) == [f"events-0-{number}" for number in range(5, -1, -1)]


def test_resolved_ones_are_left_out_and_fill_no_page(dlq: SeededTopic) -> None:
    for number in range(40):
        dlq.add(number, state="open" if number % 4 == 0 else "settled")
    assert ids(page(dlq, 10)) == [f"events-0-{number}" for number in range(36, -1, -4)]
    assert len(page(dlq, 10, resolved_too=True).found) == 10


@pytest.fixture
def many(new_dlq: Callable[..., SeededTopic]) -> SeededTopic:
    dlq = new_dlq(2)
    fill(dlq.kafka.bootstrap_servers, dlq.topic, LETTERS, 2, why)
    remember(dlq.database, LETTERS, dlq.topic, 2)
    return dlq


def test_without_rows_the_budget_ends_the_search_and_the_next_page_goes_on(many: SeededTopic) -> None:
    many.database.execute("TRUNCATE dead_letters")
    found = page(many, 1, budget_s=0, reasons=("schema_invalid",))
    assert not found.exhausted
    assert sum(found.following.ends.values()) == LETTERS - 1
    while not found.found:
        found = page(many, 1, found.following, budget_s=0.3, reasons=("schema_invalid",))
    assert ids(found) == ["events-7-0"]


def test_the_query_of_complete_blocks_takes_nothing_of_the_budget(
    dlq: SeededTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def load(_index: object, _reader: object) -> dict[int, list[tuple[int, int]]]:
        now[0] += 10
        return {}

    monkeypatch.setattr("keepstream.app.dlq.coverage._complete_ranges", load)
    monkeypatch.setattr("keepstream.app.dlq.page.time", SimpleNamespace(monotonic=lambda: now[0]))
    for number in range(3):
        dlq.add(number)
    assert len(page(dlq, 3, budget_s=5).found) == 3
    assert now == [10]


def test_without_postgres_the_topic_is_still_shown(dlq: SeededTopic) -> None:
    for number in range(3):
        dlq.add(number)
    with console({**dlq.settings(), **without_postgres()}) as running:
        page = running.get("/dead-letters")
        assert page.status == 200
        assert page.text.count('class="pick"') == 3
        assert "PostgreSQL cannot be reached" in page.text
        assert "Counting" not in page.text
        assert running.get(f"/dead-letter?id={dlq.topic}-0-1").status == 200
        assert running.get("/events?event-id=e-1").status == 503
        eventually(lambda: 'role="alert"' in running.get("/").text, 20)


def test_without_kafka_a_page_says_so(dlq: SeededTopic) -> None:
    with console({**dlq.settings(), "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": nowhere()}) as running:
        page = running.get("/dead-letters")
        assert page.status == 503
        assert "Kafka" in page.text
        assert running.get("/events?event-id=e-1").status == 200


def test_a_console_ends_with_its_signal(dlq: SeededTopic) -> None:
    with console(dlq.settings()) as running:
        running.process.terminate()
        assert running.process.wait(15) == 0
