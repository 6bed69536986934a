"""Dead letters selected by id are fetched by offset, and the topic is scanned only where one of them is not known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.dead_letters import SeededTopic

pytestmark = pytest.mark.real


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the scans of the topic that commands make; they are made as ever."""
    made: list[str] = []

    def watch(path: str, name: str) -> None:
        module = __import__(path, fromlist=[name])
        scan = getattr(module, name)

        def watched(*args: Any, **options: Any) -> Iterator[Any]:
            made.append(f"{path}.{name}")
            yield from scan(*args, **options)

        monkeypatch.setattr(module, name, watched)

    watch("keepstream.app.dlq.replay", "oldest_first")
    watch("keepstream.app.dlq.page", "newest_first")
    return made


def replay(dlq: SeededTopic, target: str, *names: str) -> tuple[int, list[tuple[bytes | None, bytes | None]]]:
    """Replay into a topic; return how many the last line says, and what the topic holds."""
    answer = dlq.here("dlq", "replay", *names, "--to-topic", target, "--yes", "--json")
    assert answer.exit_code == 0, answer.errors
    return answer.rows[-1]["replayed"], [(record.key, record.value) for record in dlq.kafka.read(target)]


def test_they_are_replayed_and_listed_without_a_scan(dlq: SeededTopic, scans: list[str]) -> None:
    for number in range(120):
        dlq.add(number, key=b"%d" % number, state="settled" if number == 90 else "open")
    names = ["events-0-7", f"{dlq.topic}-0-100", "events-0-90", "events-0-8"]
    assert dlq.ids(*names) == ["100", "8", "7"]
    assert dlq.ids(*names, "--include-resolved", "--until", "2026-11-24T13:30:00Z") == ["8", "7"]
    target = dlq.kafka.new_topic()
    assert replay(dlq, target, *names) == (3, [(b"7", b"{}"), (b"8", b"{}"), (b"100", b"{}")])
    assert dlq.ids(*names) == []
    assert scans == []


def test_where_the_record_id_of_one_is_not_known_the_topic_is_scanned(dlq: SeededTopic, scans: list[str]) -> None:
    for number in range(5):
        dlq.add(number, key=b"%d" % number)
    dlq.database.execute('UPDATE dead_letters SET place = NULL WHERE "offset" = 2')
    assert dlq.ids("events-0-1", "events-0-2") == ["2", "1"]
    assert replay(dlq, dlq.kafka.new_topic(), "events-0-1", "events-0-2")[0] == 2
    assert {*scans} == {"keepstream.app.dlq.page.newest_first", "keepstream.app.dlq.replay.oldest_first"}


def test_a_record_id_of_another_dead_letter_is_not_believed(dlq: SeededTopic, scans: list[str]) -> None:
    for number in range(5):
        dlq.add(number, key=b"%d" % number)
    dlq.database.execute(f"UPDATE dead_letters SET place = '{dlq.topic}-0-4' WHERE \"offset\" = 1")
    assert replay(dlq, dlq.kafka.new_topic(), "events-0-1")[1] == [(b"1", b"{}")]
    assert {*scans} == {"keepstream.app.dlq.replay.oldest_first"}


def test_a_name_that_is_none_is_not_found(dlq: SeededTopic) -> None:
    dlq.add(1)
    for name in ("nonesuch", "events-0-99", f"{dlq.topic}-0-99", f"{dlq.topic}-9-0"):
        answer = dlq.here("dlq", "list", name)
        assert (answer.exit_code, answer.text) == (3, "")
        assert f"not found: {name}" in answer.errors
