"""Dead letters selected by id are fetched by offset, and the topic is scanned only where one of them is not known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.dead_letters import Graveyard

pytestmark = pytest.mark.real


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the scans of the topic that commands make; they are made as ever."""
    made: list[str] = []

    def watch(place: str, name: str) -> None:
        module = __import__(place, fromlist=[name])
        scan = getattr(module, name)

        def watched(*args: Any, **options: Any) -> Iterator[Any]:
            made.append(f"{place}.{name}")
            yield from scan(*args, **options)

        monkeypatch.setattr(module, name, watched)

    watch("keepstream.app.dlq.replay", "oldest_first")
    watch("keepstream.app.dlq.page", "newest_first")
    return made


def replay(yard: Graveyard, target: str, *names: str) -> tuple[int, list[tuple[bytes | None, bytes | None]]]:
    """Replay into a topic; return how many the last line says, and what the topic holds."""
    answer = yard.here("dlq", "replay", *names, "--to-topic", target, "--yes", "--json")
    assert answer.exit_code == 0, answer.errors
    return answer.rows[-1]["replayed"], [(record.key, record.value) for record in yard.kafka.read(target)]


def test_they_are_replayed_and_listed_without_a_scan(yard: Graveyard, scans: list[str]) -> None:
    for number in range(120):
        yard.bury(number, key=b"%d" % number, state="settled" if number == 90 else "open")
    names = ["events-0-7", f"{yard.topic}-0-100", "events-0-90", "events-0-8"]
    assert yard.ids(*names) == ["100", "8", "7"]
    assert yard.ids(*names, "--all", "--until", "2026-11-24T13:30:00Z") == ["8", "7"]
    target = yard.kafka.new_topic()
    assert replay(yard, target, *names) == (3, [(b"7", b"{}"), (b"8", b"{}"), (b"100", b"{}")])
    assert yard.ids(*names) == []
    assert scans == []


def test_where_the_record_id_of_one_is_not_known_the_topic_is_scanned(yard: Graveyard, scans: list[str]) -> None:
    for number in range(5):
        yard.bury(number, key=b"%d" % number)
    yard.database.execute('UPDATE dead_letters SET place = NULL WHERE "offset" = 2')
    assert yard.ids("events-0-1", "events-0-2") == ["2", "1"]
    assert replay(yard, yard.kafka.new_topic(), "events-0-1", "events-0-2")[0] == 2
    assert {*scans} == {"keepstream.app.dlq.page.newest_first", "keepstream.app.dlq.replay.oldest_first"}


def test_a_record_id_of_another_dead_letter_is_not_believed(yard: Graveyard, scans: list[str]) -> None:
    for number in range(5):
        yard.bury(number, key=b"%d" % number)
    yard.database.execute(f"UPDATE dead_letters SET place = '{yard.topic}-0-4' WHERE \"offset\" = 1")
    assert replay(yard, yard.kafka.new_topic(), "events-0-1")[1] == [(b"1", b"{}")]
    assert {*scans} == {"keepstream.app.dlq.replay.oldest_first"}


def test_a_name_that_is_none_finds_nothing(yard: Graveyard) -> None:
    yard.bury(1)
    for name in ("nonesuch", "a\udce4-0-1", "events-0-99", f"{yard.topic}-0-99", f"{yard.topic}-9-0"):
        assert yard.ids(name) == []
