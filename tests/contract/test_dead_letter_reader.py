"""Reading a real dead letter topic: newest first without reading it all, oldest first, by time, as letters arrive."""

from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaException, Producer

from app.embedded.ports import free_port
from schemas.buried import Buried
from sinks import dead_letter_seeker, dead_letter_walk
from sinks.dead_letter_reader import Stretch, bounds_of, follow, letter_at, newest_first, oldest_first, read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from schemas.record import KafkaRecord
    from tests.real import Kafka

pytestmark = pytest.mark.real

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass
class Letters:
    """A dead letter topic whose letters say when they died, counted in minutes after noon."""

    kafka: Kafka
    topic: str

    @property
    def client(self) -> dict[str, object]:
        return {"bootstrap.servers": self.kafka.bootstrap_servers}

    def bury(self, deaths: Iterable[int], partition: int = 0, *, value: bytes = b"{}", named: str = "{}") -> None:
        """Produce a letter per minute of death; its own timestamp runs the other way."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap_servers, "linger.ms": 20})
        for minute in deaths:
            died_at = (NOON + minute * MINUTE).isoformat()
            name = named.format(f"events-{partition}-{minute}")
            headers: Any = [("keepstream.dlq.id", name.encode()), ("keepstream.dlq.last-failure", died_at.encode())]
            timestamp = 1_795_514_400_000 - minute * 1000
            producer.produce(self.topic, value, partition=partition, headers=headers, timestamp=timestamp)
            producer.poll(0)
        assert producer.flush(60) == 0

    def newest(self, count: int | None = None, **options: Any) -> list[int]:
        return minutes(itertools.islice(newest_first(self.client, self.topic, **options), count))

    def oldest(self, count: int | None = None, **options: Any) -> list[int]:
        return minutes(itertools.islice(oldest_first(self.client, self.topic, **options), count))


def minutes(records: Iterable[KafkaRecord]) -> list[int]:
    """Return the minutes of death."""
    return [round((Buried(record).failed_at - NOON) / MINUTE) for record in records]


@pytest.fixture
def new_letters(kafka: Kafka) -> Callable[..., Letters]:
    return lambda partitions=1, **config: Letters(kafka, kafka.new_topic(partitions, "event-dlq", config))


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count every record that is taken over from librdkafka."""
    seen: list[int] = []
    real = dead_letter_seeker.record_of

    def count(message: Any) -> KafkaRecord:
        seen.append(1)
        return real(message)

    monkeypatch.setattr(dead_letter_seeker, "record_of", count)
    return seen


def test_the_newest_come_first_by_death_not_by_timestamp(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters()
    letters.bury(range(500))
    assert letters.newest() == [*reversed(range(500))]
    assert letters.newest(3) == [499, 498, 497]


def test_partitions_are_merged_by_death(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters(partitions=4)
    for partition in range(3):
        letters.bury(range(partition, 600, 3), partition)
    assert letters.newest() == [*reversed(range(600))]
    assert letters.newest(stretch=Stretch(partitions=[1, 3])) == [*reversed(range(1, 600, 3))]


def test_the_oldest_come_first_within_a_partition(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters(partitions=2)
    letters.bury(range(300), 0)
    letters.bury(range(300, 600), 1)
    assert letters.oldest() == [*range(600)]
    assert letters.oldest(stretch=Stretch(from_offset=290)) == [*range(290, 300), *range(590, 600)]


def test_the_end_is_where_it_was_when_the_walk_began(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters()
    letters.bury(range(10))
    walk = oldest_first(letters.client, letters.topic)
    first = next(walk)
    letters.bury(range(10, 20))
    assert minutes([first, *walk]) == [*range(10)]


def test_an_empty_topic_holds_nothing(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters(partitions=3)
    assert letters.newest() == letters.oldest() == minutes(read_all(letters.client, letters.topic)) == []
    assert letters.newest(stretch=Stretch(since=NOON, until=NOON + MINUTE)) == []


def test_the_last_fifty_of_twenty_thousand_are_found_without_reading_the_rest(
    new_letters: Callable[..., Letters], copied: list[int]
) -> None:
    letters = new_letters(partitions=2)
    letters.bury(range(0, 20_000, 2), 0)
    letters.bury(range(1, 20_000, 2), 1)
    assert letters.newest(50) == [*reversed(range(19_950, 20_000))]
    assert len(copied) < 1000


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
    assert [r.value for r in oldest_first(letters.client, letters.topic, future)] == [b"1", b"2", b"3"]


def test_copies_are_left_out_unless_asked_for(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters(partitions=2)
    letters.bury([1, 2, 3])
    letters.bury([2, 3, 4])
    assert letters.newest() == [4, 3, 2, 1]
    assert letters.oldest() == [1, 2, 3, 4]
    assert letters.newest(copies=True) == [4, 3, 2, 3, 2, 1]
    assert letters.oldest(copies=True) == minutes(read_all(letters.client, letters.topic)) == [1, 2, 3, 2, 3, 4]


def test_large_letters_are_held_a_few_at_a_time(
    new_letters: Callable[..., Letters], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_walk, "HELD_BYTES", 3_000_000)
    letters = new_letters()
    letters.bury(range(60), value=b"x" * 900_000)
    tracemalloc.start()
    try:
        assert letters.newest() == [*reversed(range(60))]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 45_000_000, "a third of the first chunk of 64 at most"


def test_offsets_without_records_are_passed_over(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters()
    producer = Producer({"bootstrap.servers": letters.kafka.bootstrap_servers, "transactional.id": letters.topic})
    producer.init_transactions(30)
    for number in range(60):
        producer.begin_transaction()
        producer.produce(letters.topic, b"%d" % number)
        producer.flush()
        if number % 3:
            producer.abort_transaction()
        else:
            producer.commit_transaction()
    committed = [b"%d" % number for number in range(0, 60, 3)]
    assert [r.value for r in newest_first(letters.client, letters.topic)] == committed[::-1]
    assert [r.value for r in oldest_first(letters.client, letters.topic)] == committed
    assert [r.value for r in read_all(letters.client, letters.topic)] == committed
    assert letter_at(letters.client, letters.topic, 0, 1) is None


def test_deleted_letters_are_passed_over(new_letters: Callable[..., Letters]) -> None:
    from confluent_kafka import TopicPartition

    letters = new_letters()
    letters.bury(range(100))
    letters.kafka._admin.delete_records([TopicPartition(letters.topic, 0, 90)])
    assert bounds_of(letters.client, letters.topic, [0])[0][1] == 100
    assert letters.newest() == [*reversed(range(90, 100))]
    assert letters.oldest() == [*range(90, 100)]
    assert letter_at(letters.client, letters.topic, 0, 5) is None


def test_a_letter_is_found_at_its_place(new_letters: Callable[..., Letters], copied: list[int]) -> None:
    letters = new_letters(partitions=2)
    letters.bury(range(5000), 1)
    found = letter_at(letters.client, letters.topic, 1, 4321)
    assert found is not None
    assert minutes([found]) == [4321]
    assert len(copied) == 1
    assert letter_at(letters.client, letters.topic, 1, 5000) is None
    assert letter_at(letters.client, letters.topic, 0, 0) is None
    assert letter_at(letters.client, letters.topic, 7, 0) is None


def test_following_yields_what_arrives(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters()
    letters.bury(range(3000))
    tail = follow(letters.client, letters.topic, Stretch(since=NOON + 2998 * MINUTE))
    assert minutes(itertools.islice(tail, 12)) == [*range(2988, 3000)]
    letters.bury(range(3000, 3003))
    assert minutes(itertools.islice(tail, 3)) == [3000, 3001, 3002]


def test_a_topic_that_does_not_exist_is_an_error(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters()
    letters.topic += "-other"
    with pytest.raises(KafkaException):
        letters.newest()
    with pytest.raises(KafkaException):
        list(read_all(letters.client | {"allow.auto.create.topics": False}, letters.topic))


def test_a_broker_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_seeker, "ANSWER_TIMEOUT_S", 1)
    client = {"bootstrap.servers": f"127.0.0.1:{free_port()}", "log_level": 0}
    readers: tuple[Callable[..., Iterator[KafkaRecord]], ...] = (newest_first, oldest_first, read_all, follow)
    for read in readers:
        with pytest.raises(KafkaException):
            next(read(client, "event-dlq"))
