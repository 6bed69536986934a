"""Times of death in a real dead letter topic are found without reading it all, where they rise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from keepstream.sinks.kafka.dead_letter_reader import Stretch, oldest_first
from tests.contract.dead_letter_topics import MINUTE, NOON, Letters

pytestmark = pytest.mark.real


def test_a_time_is_found_without_reading_the_rest(new_letters: Callable[..., Letters], copied: list[int]) -> None:
    letters = new_letters(partitions=2)
    letters.bury(range(0, 20_000, 2), 0)
    letters.bury(range(1, 20_000, 2), 1)
    until, since = Stretch(until=NOON + 7000 * MINUTE), Stretch(since=NOON + 15_000 * MINUTE)
    assert letters.newest(50, stretch=until) == [*reversed(range(6960, 7010))]  # ten minutes of slack
    assert min(letters.newest(stretch=since)) == 14_990
    before = len(copied)
    assert letters.oldest(20, stretch=since) == [*range(14_990, 15_030, 2)]
    assert len(copied) - before < 1000
    window = Stretch(since=NOON + 9000 * MINUTE, until=NOON + 9001 * MINUTE)
    assert sorted(letters.oldest(stretch=window)) == [*range(8990, 9011)]


def test_times_that_do_not_rise_are_found_by_reading(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters()
    letters.bury(range(2000, 4000))
    letters.bury(range(500))  # an old export that was imported
    letters.bury(range(4000, 4010))
    found = letters.oldest(stretch=Stretch(since=NOON + 3990 * MINUTE))
    assert {*range(3990, 4010)} <= set(found)
    found = letters.newest(stretch=Stretch(until=NOON + 100 * MINUTE))
    assert {*range(100)} <= set(found)


def test_letters_that_say_no_time_are_all_read(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters()
    letters.kafka.produce(letters.topic, [b"1", b"2", b"3"])
    future = Stretch(since=datetime.now(UTC) + timedelta(days=1))
    assert [r.record.value for r in oldest_first(letters.client, letters.topic, future)] == [b"1", b"2", b"3"]
