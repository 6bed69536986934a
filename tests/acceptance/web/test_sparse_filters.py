"""What is rare among many dead letters: PostgreSQL names it, the topic holds it, however the times of death lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from keepstream.app.dlq.lookup import locate, remembered
from keepstream.app.dlq.page import Cursor, Page
from keepstream.schemas.dead_letter import dead_letter_headers
from keepstream.sinks.kafka.confirmed_producer import record_id_of
from tests.acceptance.dead_letters import NOON, Graveyard
from tests.acceptance.web.test_list import ids, page, queue_of
from tests.builders import make_dead_letter, make_failure, make_record

pytestmark = pytest.mark.real

LETTERS, RARE_EVERY = 2000, 211
RARE = [*range(RARE_EVERY - 1, LETTERS, RARE_EVERY)]
_ROW = """
INSERT INTO dead_letters (topic, partition, "offset", event_id, step, verdict, reason, message, attempts,
                          first_failed_at, last_failed_at, place)
VALUES ('events', 0, %s, %s, 'store', 'record', %s, 'no', 1, %s, %s, %s)"""
SHAPES: dict[str, Callable[[int], float]] = {
    "one a second": lambda n: n,
    "all of a minute at once": lambda n: n // 300 * 60,
    "faster and faster": lambda n: (n / 10) ** 0.5 * 300,
    "slower and slower": lambda n: (n / 10) ** 2,
    "clocks apart": lambda n: n + n * 7919 % 13,
    "long breaks": lambda n: n / 100 + n // 500 * 86_400,
}
"""When letter n died, in seconds after noon."""


def bury_many(yard: Graveyard, seconds: Iterable[float], first: int = 0) -> None:
    """Produce letters of one event each and write their rows; one in `RARE_EVERY` is of a rare kind."""
    producer = Producer({"bootstrap.servers": yard.kafka.bootstrap_servers})
    places: dict[int, str] = {}
    rows = []
    for number, second in enumerate(seconds, first):
        at, reason = NOON + timedelta(seconds=second), "rare" if number in RARE else "common"
        letter = make_dead_letter(
            make_record(b"{}", number), failure=make_failure(reason=reason), first_failed_at=at, last_failed_at=at,
            event_id=f"e-{number}",
        )  # fmt: skip
        headers: Any = dead_letter_headers(letter, "1")
        producer.produce(yard.topic, b"{}", headers=headers, partition=number % yard.partitions,
                         on_delivery=partial(confirm, places, number))  # fmt: skip
        rows.append((number, f"e-{number}", reason, at, at))
    assert producer.flush(30) == 0
    with yard.database.connect() as connection:
        connection.cursor().executemany(_ROW, [(*row, places[row[0]]) for row in rows])


def confirm(places: dict[int, str], number: int, _error: object, message: Message) -> None:
    places[number] = record_id_of(message)


def pages(yard: Graveyard, size: int) -> list[Page]:
    """Turn pages of what is rare until there is none, or PostgreSQL knows none."""
    found: list[Page] = []
    start: Cursor | None = None
    while not found or not (found[-1].exhausted or found[-1].known_end):
        found.append(page(yard, size, start, reasons=("rare",)))
        start = found[-1].following
    return found


def numbers(found: list[Page]) -> list[int]:
    return [int(name.removeprefix("events-0-")) for one in found for name in ids(one)]


@pytest.mark.parametrize("shape", SHAPES)
def test_all_of_it_is_found_once_newest_first_and_little_is_read(
    shape: str, new_yard: Callable[..., Graveyard]
) -> None:
    yard = new_yard(2)
    bury_many(yard, map(SHAPES[shape], range(LETTERS)))
    found = pages(yard, 4)
    newest_first = sorted(RARE, key=lambda n: (SHAPES[shape](n), n), reverse=True)
    assert numbers(found) == newest_first
    assert sum(one.looked_at for one in found) < 400
    assert [one.missing for one in found] == [0] * len(found)
    with queue_of(yard) as queue:
        for number in (0, 1, 777, LETTERS - 1):
            assert [letter and letter.id for letter in (remembered(queue, f"e-{number}"),)] == [f"events-0-{number}"]


def test_behind_what_postgres_knows_the_topic_itself_can_be_looked_through(yard: Graveyard) -> None:
    bury_many(yard, range(LETTERS))
    lost = RARE[2]
    yard.database.execute('DELETE FROM dead_letters WHERE "offset" = %s', lost)
    known = page(yard, 50, reasons=("rare",))
    assert known.known_end
    assert lost not in numbers([known])
    assert lost in numbers([page(yard, 50, known.following, reasons=("rare",))])


def test_what_was_imported_is_found_though_its_time_does_not_fit(yard: Graveyard) -> None:
    bury_many(yard, (100_000 + n for n in range(LETTERS - 100)))
    bury_many(yard, range(100), first=LETTERS - 100)
    assert sorted(numbers(pages(yard, 50))) == RARE


def test_letters_that_postgres_does_not_know_are_walked_through(yard: Graveyard) -> None:
    bury_many(yard, range(LETTERS))
    yard.database.execute('DELETE FROM dead_letters WHERE "offset" %% 2 = 0')
    found = pages(yard, 50)
    assert sorted(numbers(found)) == RARE
    assert found[-1].exhausted


def test_what_left_the_topic_is_said(yard: Graveyard) -> None:
    bury_many(yard, range(LETTERS))
    admin = AdminClient({"bootstrap.servers": yard.kafka.bootstrap_servers})
    for done in admin.delete_records([TopicPartition(yard.topic, 0, RARE[3])]).values():
        done.result(30)
    found = pages(yard, 50)
    assert sorted(numbers(found)) == RARE[3:]
    assert sum(one.missing for one in found) == 3


def test_times_are_left_to_postgres(yard: Graveyard) -> None:
    bury_many(yard, range(LETTERS))
    until = (NOON + timedelta(seconds=1000)).isoformat()
    since = (NOON + timedelta(seconds=990)).isoformat()
    between = page(yard, 50, since=since, until=until)
    assert numbers([between]) == [*range(999, 989, -1)]
    assert between.looked_at < 200


UNSURE = {
    "from before places were kept": "NULL",
    "of another topic": "'event-dlq-other-0-' || \"offset\"",
    "of another letter": "regexp_replace(place, '[0-9]+$', '0')",
    "behind the end": "regexp_replace(place, '[0-9]+$', '999999999')",
    "in no partition": "regexp_replace(place, '0-([0-9]+)$', '7-\\1')",
    "no place": "'?'",
}


@pytest.mark.parametrize("place", UNSURE.values(), ids=UNSURE)
def test_where_places_are_not_sure_all_of_it_is_found_by_walking(yard: Graveyard, place: str) -> None:
    bury_many(yard, range(LETTERS))
    yard.database.execute(f"UPDATE dead_letters SET place = {place}")
    found = pages(yard, 50)
    assert sorted(numbers(found)) == RARE
    assert found[-1].exhausted
    with queue_of(yard) as queue:
        assert remembered(queue, "e-5") is None
        assert locate(queue, "e-5", lambda _: None)
