"""Reading a real dead letter topic: newest first without reading it all, oldest first, by time, as letters arrive."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaException, Producer

from keepstream.app.embedded.service import free_port
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.sinks.kafka import reverse_scan
from keepstream.sinks.kafka.admin import KafkaAdmin
from keepstream.sinks.kafka.dead_letter_reader import (
    dead_letter_at,
    follow,
    newest_first,
    oldest_first,
    read_all,
)
from tests.contract.dead_letter_topics import Letters, minutes

pytestmark = pytest.mark.real


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
    assert letters.newest(ranges={1: [(0, 200)], 3: []}) == [*reversed(range(1, 600, 3))]
    parts = {0: [(0, 3), (100, 101)], 2: [(99, 100)]}
    assert letters.newest(ranges=parts) == [300, 299, 6, 3, 0]
    assert letters.oldest(ranges=parts) == [0, 3, 6, 300, 299]


def test_the_oldest_come_first_within_a_partition(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters(partitions=2)
    letters.bury(range(300), 0)
    letters.bury(range(300, 600), 1)
    assert letters.oldest() == [*range(600)]


def test_the_end_is_where_it_was_when_the_walk_began(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters()
    letters.bury(range(10))
    walk = oldest_first(letters.client, letters.topic)
    first = next(walk)
    letters.bury(range(10, 20))
    assert minutes([first, *walk]) == [*range(10)]


def test_an_empty_topic_holds_nothing(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters(partitions=3)
    assert (
        letters.newest()
        == letters.oldest()
        == minutes(map(DeadLetterRecord, read_all(letters.client, letters.topic)))
        == []
    )


def test_the_last_fifty_of_twenty_thousand_are_found_without_reading_the_rest(
    new_letters: Callable[..., Letters], copied: list[int]
) -> None:
    letters = new_letters(partitions=2)
    letters.bury(range(0, 20_000, 2), 0)
    letters.bury(range(1, 20_000, 2), 1)
    assert letters.newest(50) == [*reversed(range(19_950, 20_000))]
    assert len(copied) < 1000


def test_copies_are_left_out_unless_asked_for(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters(partitions=2)
    letters.bury([1, 2, 3])
    letters.bury([2, 3, 4])
    assert letters.newest() == [4, 3, 2, 1]
    assert letters.oldest() == [1, 2, 3, 4]
    assert (
        letters.oldest(copies=True)
        == minutes(map(DeadLetterRecord, read_all(letters.client, letters.topic)))
        == [1, 2, 3, 2, 3, 4]
    )


def test_large_letters_are_held_a_few_at_a_time(
    new_letters: Callable[..., Letters], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reverse_scan, "MAX_BUFFERED_BYTES", 3_000_000)
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
    assert [r.record.value for r in newest_first(letters.client, letters.topic)] == committed[::-1]
    assert [r.record.value for r in oldest_first(letters.client, letters.topic)] == committed
    assert [r.value for r in read_all(letters.client, letters.topic)] == committed
    assert dead_letter_at(letters.client, letters.topic, 0, 1) is None


def test_deleted_letters_are_passed_over(new_letters: Callable[..., Letters]) -> None:
    from confluent_kafka import TopicPartition

    letters = new_letters()
    letters.bury(range(100))
    letters.kafka._admin.delete_records([TopicPartition(letters.topic, 0, 90)])
    assert letters.client.watermarks(letters.topic, [0])[0][1] == 100
    assert letters.newest() == [*reversed(range(90, 100))]
    assert letters.oldest() == [*range(90, 100)]
    assert dead_letter_at(letters.client, letters.topic, 0, 5) is None


def test_a_letter_is_found_at_its_place(new_letters: Callable[..., Letters], copied: list[int]) -> None:
    letters = new_letters(partitions=2)
    letters.bury(range(5000), 1)
    found = dead_letter_at(letters.client, letters.topic, 1, 4321)
    assert found is not None
    assert minutes([found]) == [4321]
    assert len(copied) == 1
    assert dead_letter_at(letters.client, letters.topic, 1, 5000) is None
    assert dead_letter_at(letters.client, letters.topic, 0, 0) is None
    assert dead_letter_at(letters.client, letters.topic, 7, 0) is None


def test_following_yields_what_arrives(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters()
    letters.bury(range(3000))
    tail = follow(letters.client, letters.topic, {0: 2988})
    assert minutes(itertools.islice(tail, 12)) == [*range(2988, 3000)]
    letters.bury(range(3000, 3003))
    assert minutes(itertools.islice(tail, 3)) == [3000, 3001, 3002]


def test_a_topic_that_does_not_exist_is_an_error(new_letters: Callable[..., Letters]) -> None:
    letters = new_letters()
    letters.topic += "-other"
    with pytest.raises(KafkaException):
        letters.newest()
    with pytest.raises(KafkaException):
        list(read_all(letters.client, letters.topic))


def test_a_broker_that_does_not_answer_is_an_error() -> None:
    client = KafkaAdmin({"bootstrap.servers": f"127.0.0.1:{free_port()}"}, timeout_s=1)
    readers: tuple[Callable[..., Iterator[object]], ...] = (newest_first, oldest_first, read_all)
    for read in readers:
        with pytest.raises(KafkaException):
            next(read(client, "event-dlq"))
