"""Lists from PostgreSQL's index and from the topic: each dead letter once, newest first, whatever wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from keepstream.app.dlq.lookup import find, find_in_index
from keepstream.app.dlq.page import Cursor, Page, list_all
from keepstream.app.dlq.selectors import parse_query
from keepstream.schemas.dead_letter import dead_letter_headers
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka import range_reader
from keepstream.sinks.kafka.confirmed_producer import record_id_of
from tests.acceptance.dead_letters import NOON, SeededTopic
from tests.acceptance.web.test_list import ids, open_topic, page
from tests.builders import make_dead_letter, make_failure, make_record

pytestmark = pytest.mark.real

LETTERS, RARE_EVERY = 3000, 211
RARE = [*range(RARE_EVERY - 1, LETTERS, RARE_EVERY)]
_ROW = """
INSERT INTO dead_letters (topic, partition, "offset", event_id, step, verdict, reason, message, attempts,
                          first_failed_at, last_failed_at, place)
VALUES ('events', 0, %s, %s, 'store', 'record', %s, 'no', 1, %s, %s, %s)"""
SHAPES: dict[str, Callable[[int], float]] = {
    "one a second": lambda n: n,
    "all of a minute at once": lambda n: n // 300 * 60,
    "clocks apart": lambda n: n + n * 7919 % 13,
}
"""When dead letter n failed, in seconds after noon."""


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """Return the records that are read from the topic."""
    seen: list[Message] = []
    record_of = range_reader.record_of

    def count(message: Message) -> KafkaRecord:
        seen.append(message)
        return record_of(message)

    monkeypatch.setattr(range_reader, "record_of", count)
    return seen


def add_many(dlq: SeededTopic, seconds: Iterable[float], first: int = 0) -> None:
    """Produce letters of one event each and write their rows; one in `RARE_EVERY` is of a rare kind."""
    producer = Producer({"bootstrap.servers": dlq.kafka.bootstrap_servers})
    places: dict[int, str] = {}
    rows = []
    for number, second in enumerate(seconds, first):
        at, reason = NOON + timedelta(seconds=second), "rare" if number in RARE else "common"
        letter = make_dead_letter(
            make_record(b"{}", number), failure=make_failure(reason=reason), first_failed_at=at, last_failed_at=at,
            event_id=f"e-{number}",
        )  # fmt: skip
        headers: Any = dead_letter_headers(letter, "1")
        producer.produce(dlq.topic, b"{}", headers=headers, partition=number % dlq.partitions,
                         on_delivery=partial(confirm, places, number))  # fmt: skip
        rows.append((number, f"e-{number}", reason, at, at))
    assert producer.flush(30) == 0
    with dlq.database.connect() as connection:
        connection.cursor().executemany(_ROW, [(*row, places[row[0]]) for row in rows])


def confirm(places: dict[int, str], number: int, _error: object, message: Message) -> None:
    places[number] = record_id_of(message)


def pages(dlq: SeededTopic, size: int, **given: Any) -> list[Page]:
    """Turn pages until there is none."""
    found: list[Page] = []
    start: Cursor | None = None
    while not found or not found[-1].exhausted:
        found.append(page(dlq, size, start, **given))
        start = found[-1].following
    return found


def rare(dlq: SeededTopic, size: int = 50) -> list[int]:
    return numbers(pages(dlq, size, reasons=("rare",)))


def numbers(found: list[Page]) -> list[int]:
    return [int(name.removeprefix("events-0-")) for one in found for name in ids(one)]


@pytest.mark.parametrize("shape", SHAPES)
def test_matches_are_listed_once_newest_first_and_little_is_read(
    shape: str, new_dlq: Callable[..., SeededTopic], copied: list[Message]
) -> None:
    dlq = new_dlq(2)
    add_many(dlq, map(SHAPES[shape], range(LETTERS)))
    newest_first = sorted(RARE, key=lambda n: (SHAPES[shape](n), n), reverse=True)
    assert rare(dlq, 8) == newest_first
    assert len(copied) < LETTERS / 2, "in two pages"
    with open_topic(dlq) as topic:
        for number in (0, 1, 777, LETTERS - 1):
            assert [one and one.id for one in (find_in_index(topic, f"e-{number}"),)] == [f"events-0-{number}"]


def test_a_page_is_read_and_nothing_beside_it(dlq: SeededTopic, copied: list[Message]) -> None:
    add_many(dlq, range(LETTERS + 50))
    assert numbers([page(dlq, 50)]) == [*range(LETTERS + 49, LETTERS - 1, -1)]
    assert len(copied) <= 50 + 50 + 2, "of the topic only what lies behind the last complete block"


def test_times_are_left_to_postgres(dlq: SeededTopic, copied: list[Message]) -> None:
    add_many(dlq, range(LETTERS))
    until = (NOON + timedelta(seconds=1500)).isoformat()
    since = (NOON + timedelta(seconds=1490)).isoformat()
    assert numbers([page(dlq, 50, since=since, until=until)]) == [*range(1499, 1489, -1)]
    with open_topic(dlq) as topic:
        oldest = topic.oldest(parse_query({"since": since, "until": until}))
        assert [one.id for one, _ in oldest] == [f"events-0-{number}" for number in range(1490, 1500)]
    assert len(copied) < LETTERS / 2


def test_what_has_no_row_is_merged_by_time(new_dlq: Callable[..., SeededTopic]) -> None:
    dlq = new_dlq(2)
    for first in range(0, LETTERS, 600):
        add_many(dlq, range(first, first + 600), first)
        produced_at = NOON + timedelta(seconds=first + 599.5)
        dlq.produce(b"{", None, [], first // 600 % 2, timestamp=int(produced_at.timestamp() * 1000))
    dlq.database.execute('DELETE FROM dead_letters WHERE "offset" BETWEEN 1500 AND 1600 OR "offset" %% 997 = 0')
    dlq.database.execute('UPDATE dead_letters SET place = NULL WHERE "offset" BETWEEN 2000 AND 2100')
    dlq.database.execute("UPDATE dead_letters SET state = 'settled' WHERE \"offset\" BETWEEN 300 AND 400")
    failed_at = [letter.failed_at for one in pages(dlq, 400) for letter, _ in one.found]
    assert failed_at == sorted(failed_at, reverse=True)
    assert len(failed_at) == LETTERS - 101 + 5
    with open_topic(dlq) as topic:
        assert [letter.failed_at for letter, _ in list_all(topic, parse_query({}))] == failed_at
    assert rare(dlq, 3) == [n for n in reversed(RARE) if not 300 <= n <= 400]


def test_copies_are_listed_once(dlq: SeededTopic) -> None:
    add_many(dlq, range(LETTERS))
    add_many(dlq, range(30), first=LETTERS)
    dlq.database.execute('DELETE FROM dead_letters WHERE "offset" >= %s', LETTERS)
    add_many(dlq, range(30), first=LETTERS)
    assert len(numbers(pages(dlq, 1000))) == LETTERS + 30


def test_what_was_imported_is_found_though_its_time_does_not_fit(dlq: SeededTopic) -> None:
    add_many(dlq, (100_000 + n for n in range(LETTERS - 100)))
    add_many(dlq, range(100), first=LETTERS - 100)
    assert sorted(rare(dlq)) == RARE


def test_what_left_the_topic_is_counted(dlq: SeededTopic) -> None:
    add_many(dlq, range(LETTERS))
    admin = AdminClient({"bootstrap.servers": dlq.kafka.bootstrap_servers})
    for done in admin.delete_records([TopicPartition(dlq.topic, 0, RARE[3])]).values():
        done.result(30)
    found = pages(dlq, 50, reasons=("rare",))
    assert sorted(numbers(found)) == RARE[3:]
    assert sum(one.missing for one in found) == 3


UNSURE = {
    "from before places were kept": "NULL",
    "of another topic": "'event-dlq-other-0-' || \"offset\"",
    "of another one": "regexp_replace(place, '[0-9]+$', '0')",
    "behind the end": "regexp_replace(place, '[0-9]+$', '999999999')",
    "in no partition": "regexp_replace(place, '0-([0-9]+)$', '7-\\1')",
    "no place": "'?'",
    "of its neighbour": "regexp_replace(place, '[0-9]+$', (\"offset\" # 1)::text)",
}


@pytest.mark.parametrize("place", UNSURE.values(), ids=UNSURE)
def test_where_rows_name_other_records_the_topic_is_read(dlq: SeededTopic, place: str) -> None:
    add_many(dlq, range(LETTERS))
    dlq.database.execute(f"UPDATE dead_letters SET place = {place}")
    assert rare(dlq) == RARE[::-1]
    with open_topic(dlq) as topic:
        assert [letter.id for letter, _ in list_all(topic, parse_query({}))][:2] == ["events-0-2999", "events-0-2998"]
        assert find_in_index(topic, "e-5") is None
        assert find(topic, "e-5", lambda _: None)


def test_one_row_that_names_another_record_hides_nothing(dlq: SeededTopic) -> None:
    add_many(dlq, range(LETTERS))
    dlq.database.execute(f"UPDATE dead_letters SET place = '{dlq.topic}-0-7' WHERE \"offset\" = %s", RARE[5])
    assert {*rare(dlq, 4)} == {*RARE}
    with open_topic(dlq) as topic:
        listed = [letter.id for letter, _ in list_all(topic, parse_query({}))]
    assert sorted(listed) == sorted(f"events-0-{number}" for number in range(LETTERS))
