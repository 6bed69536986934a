"""Publishing dead letters to a real broker: confirmed, byte for byte, or a pause."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from keepstream.app.embedded.service import free_port
from keepstream.schemas.claim_check import StoredDeadLetter, claim_check_sha256, redeem
from keepstream.schemas.dead_letter import to_record
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.failure import SystemicError, Verdict
from keepstream.schemas.outcome import Publication
from keepstream.schemas.record import KafkaRecord, Record
from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from keepstream.sinks.kafka.dead_letters import KafkaDeadLetterQueue
from tests.builders import make_dead_letter, make_failure, make_record
from tests.real import Kafka

pytestmark = pytest.mark.real

VERSION = "1.2.3"
DISTANT_FUTURE_MS = 4_102_444_800_000
"""2100-01-01."""


@pytest.fixture
async def open_dead_letter_topic(kafka: Kafka) -> AsyncIterator[Callable[..., KafkaDeadLetterQueue]]:
    """Open queues on the broker, or on what a change says."""
    opened: list[KafkaDeadLetterQueue] = []

    def make(
        topic: str, timeout_s: float = 20, claim_checks: Kept | None = None, **changes: Any
    ) -> KafkaDeadLetterQueue:
        client = {"bootstrap.servers": kafka.bootstrap_servers, "allow.auto.create.topics": False} | changes
        opened.append(KafkaDeadLetterQueue(topic, client, timeout_s=timeout_s, claim_checks=claim_checks))
        return opened[-1]

    yield make
    for queue in opened:
        await queue.close()


@pytest.mark.parametrize(
    "record",
    [
        make_record(b"{}", 3),
        make_record(None, 4),
        make_record(b"", 5),
        make_record(b"\x00\xff" * 50_000, 6, key=b"\x00\xffkey"),
        make_record(b"x", 7, key=None),
        make_record(b"x", 8, key=b""),
        make_record(b"x", 9, headers=[("a", b"1"), ("a", None), ("a", b""), ("", b"\xff\x00"), ("\N{SNOWMAN}", b"1")]),
        make_record(b"x", 10, headers=[(f"h{i % 7}", b"%d" % i) for i in range(1000)]),
        make_record(b"x", 11, timestamp=1),
        make_record(b"x" * (3 * 1024 * 1024), 12),
    ],
    ids=["plain", "tombstone", "empty", "binary", "no key", "empty key", "odd headers", "1000 headers", "old", "3 MiB"],
)  # fmt: skip
async def test_a_record_comes_back_byte_for_byte(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue], record: Any
) -> None:
    topic = kafka.new_topic(name="dlq", config={"max.message.bytes": "10000000"})
    letter = letter_of(record)
    await open_dead_letter_topic(topic).publish([letter])
    (found,) = kafka.read(topic)
    assert (found.key, found.value, found.headers) == (record.key, record.value, letter.headers)
    assert DeadLetterRecord(found).original_timestamp == record.timestamp
    assert list(found.headers)[: len(record.headers)] == list(record.headers)


@pytest.mark.parametrize("timestamp", [-1, 0, 1, DISTANT_FUTURE_MS])
async def test_a_letter_is_dated_when_it_is_published_whatever_its_record_says(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue], timestamp: int
) -> None:
    """Retention counts from the letter's timestamp, and Kafka refuses one that is too far ahead."""
    topic = kafka.new_topic(name="dlq", config={"message.timestamp.after.max.ms": "3600000"})
    assert not (await open_dead_letter_topic(topic).publish([letter_of(make_record(timestamp=timestamp))])).failure
    (found,) = kafka.read(topic)
    assert abs(found.timestamp - time.time() * 1000) < 60_000
    assert DeadLetterRecord(found).original_timestamp == timestamp


async def test_many_letters_are_confirmed_together_and_stay_in_order(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue]
) -> None:
    topic = kafka.new_topic(name="dlq")
    await open_dead_letter_topic(topic).publish([letter_of(make_record(b"%d" % i, i)) for i in range(500)])
    assert [record.value for record in kafka.read(topic)] == [b"%d" % i for i in range(500)]


async def test_each_letter_comes_back_with_its_place(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue]
) -> None:
    topic = kafka.new_topic(partitions=3, name="dlq")
    letters = [letter_of(make_record(b"x", i, key=b"%d" % i)) for i in range(50)]
    publication = await open_dead_letter_topic(topic).publish(letters)
    assert by_place(publication) == places(kafka, topic)
    assert len(publication.record_ids) == 50


async def test_letters_of_equal_offsets_of_a_topic_and_its_successor_have_a_place_each(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue]
) -> None:
    topic = kafka.new_topic(name="dlq")
    letters = [to_record(make_dead_letter(incarnation=incarnation), VERSION) for incarnation in (0, 1)]
    publication = await open_dead_letter_topic(topic).publish(letters)
    assert by_place(publication) == places(kafka, topic)
    assert publication.record_ids.keys() == {"events-0-0", "events~1-0-0"}


async def test_one_key_stays_on_one_partition(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue]
) -> None:
    topic = kafka.new_topic(partitions=3, name="dlq")
    await open_dead_letter_topic(topic).publish([letter_of(make_record(b"x", i, key=b"same")) for i in range(9)])
    assert len({record.partition for record in kafka.read(topic)}) == 1


async def test_nothing_to_publish_is_published_at_once(
    open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue],
) -> None:
    await open_dead_letter_topic("nowhere").publish([])


async def test_a_topic_that_does_not_exist_pauses_and_works_once_it_does(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue]
) -> None:
    topic = kafka.new_topic(name="dlq") + "-later"
    queue = open_dead_letter_topic(topic, timeout_s=2)
    failure = (await queue.publish([letter_of()])).failure
    assert failure is not None
    assert (failure.verdict, failure.reason) == (Verdict.SYSTEMIC, "dlq_unavailable")
    assert failure.message.startswith(f"the dead letter topic '{topic}' did not take a dead letter: ")
    kafka.create_topic(topic)
    await eventually_publishes(queue)


async def test_a_broker_that_cannot_be_reached_pauses_within_the_timeout(
    open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue],
) -> None:
    queue = open_dead_letter_topic("dlq", timeout_s=1, **{"bootstrap.servers": f"127.0.0.1:{free_port()}"})
    began = time.monotonic()
    assert (await queue.publish([letter_of()])).failure
    assert time.monotonic() - began < 5


async def test_a_letter_larger_than_the_topic_allows_is_a_pause_and_the_queue_works_on(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue]
) -> None:
    topic = kafka.new_topic(name="dlq", config={"max.message.bytes": "10000"})
    queue = open_dead_letter_topic(topic, **{"compression.type": "none"})
    publication = await queue.publish([letter_of(make_record(b"a", 1)), letter_of(make_record(b"x" * 50_000, 2))])
    assert publication.record_ids.keys() == {"events-0-1"}
    assert publication.failure
    assert "MSG_SIZE_TOO_LARGE" in publication.failure.message
    await eventually_publishes(queue)


@pytest.mark.parametrize(("count", "answer"), [(1, "INVALID_TIMESTAMP: the"), (2, "INVALID_RECORD: probably the")])
async def test_a_refused_timestamp_is_a_pause_that_says_what_to_do(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue], count: int, answer: str
) -> None:
    """No millisecond may pass between the producer's clock and the broker's; Kafka's answer depends on the count."""
    topic = kafka.new_topic(name="dlq", config={"message.timestamp.before.max.ms": "0"})
    queue = open_dead_letter_topic(topic, **{"linger.ms": 50})
    failure = (await queue.publish([letter_of(make_record(b"x", i)) for i in range(count)])).failure
    assert failure is not None
    assert (failure.verdict, failure.reason) == (Verdict.SYSTEMIC, "dlq_unavailable")
    assert f"{answer} worker's wall clock is further ahead or behind than the topic allows" in failure.message
    assert "set the clock, or message.timestamp.type=LogAppendTime on the topic" in failure.message


async def test_the_topic_that_keepstream_creates_takes_letters_whatever_the_clock_says(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue]
) -> None:
    config = DEAD_LETTER_TOPIC_CONFIG | {"message.timestamp.before.max.ms": "0", "message.timestamp.after.max.ms": "0"}
    queue = open_dead_letter_topic(kafka.new_topic(name="dlq", config=config), **{"linger.ms": 50})
    assert not (await queue.publish([letter_of(make_record(b"x", i)) for i in range(2)])).failure


@dataclass
class Kept:
    """Keeps originals in memory, or refuses."""

    refuse: bool = False
    originals: list[StoredDeadLetter] = field(default_factory=list)

    async def keep(self, originals: Sequence[StoredDeadLetter]) -> None:
        if self.refuse:
            raise SystemicError(make_failure(verdict=Verdict.SYSTEMIC, reason="original_not_kept"))
        self.originals.extend(originals)


NARROW = {"max.message.bytes": "10000"}


async def test_publications_side_by_side_get_their_own_places_and_none_is_too_large_for_its_company(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue]
) -> None:
    topic = kafka.new_topic(name="dlq", config=NARROW)
    kept = Kept()
    queue = open_dead_letter_topic(topic, claim_checks=kept, **{"compression.type": "none"})
    letters = [letter_of(make_record(b"%04d" % number * 1500, number)) for number in range(40)]
    published = await asyncio.gather(*(queue.publish([letter]) for letter in letters))
    there = {f"{topic}-{record.partition}-{record.offset}": record.value for record in kafka.read(topic)}
    values = {DeadLetterRecord(letter).id: letter.value for letter in letters}
    found = {place: values[letter_id] for one in published for letter_id, place in one.record_ids.items()}
    assert found == there
    assert kept.originals == []


async def test_a_callback_that_fails_leaves_the_others_their_answers(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue]
) -> None:
    def fails(_statistics: str) -> None:
        raise ValueError

    topic = kafka.new_topic(name="dlq")
    queue = open_dead_letter_topic(topic, stats_cb=fails, **{"statistics.interval.ms": 50})
    await queue.publish([letter_of()])
    await asyncio.sleep(0.3)
    await queue.publish([letter_of(make_record(b"x", 9))])
    assert len(kafka.read(topic)) == 2


async def test_what_is_too_large_is_kept_elsewhere_and_its_neighbours_are_published_whole(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue]
) -> None:
    topic = kafka.new_topic(name="dlq", config=NARROW)
    kept = Kept()
    queue = open_dead_letter_topic(topic, claim_checks=kept, **{"compression.type": "none"})
    values = [b"a", b"x" * 50_000, b"b", b"y" * (20 * 1024 * 1024), b"c"]
    publication = await queue.publish([letter_of(make_record(value, i)) for i, value in enumerate(values)])
    assert by_place(publication) == places(kafka, topic)
    found = {letter.id: letter for letter in map(DeadLetterRecord, kafka.read(topic))}
    assert {i: letter.record.value for i, letter in found.items() if not claim_check_sha256(letter)} == {
        "events-0-0": b"a", "events-0-2": b"b", "events-0-4": b"c",
    }  # fmt: skip
    for original in kept.originals:
        back = redeem(found[original.dead_letter_id], original.packed).record
        assert back.value == values[int(original.dead_letter_id[-1])]
    assert [original.dead_letter_id for original in kept.originals] == ["events-0-1", "events-0-3"]


async def test_letters_that_only_together_are_too_large_are_published_whole(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue]
) -> None:
    """The producer packs letters into one request, and the topic's limit is the request's."""
    topic = kafka.new_topic(name="dlq", config=NARROW)
    kept = Kept()
    queue = open_dead_letter_topic(topic, claim_checks=kept, **{"compression.type": "none", "linger.ms": 50})
    publication = await queue.publish([letter_of(make_record(b"x" * 4000, i)) for i in range(10)])
    assert not kept.originals
    assert {letter.id for letter in map(DeadLetterRecord, kafka.read(topic))} == {f"events-0-{i}" for i in range(10)}
    assert by_place(publication) == places(kafka, topic)


async def test_what_cannot_be_kept_is_a_pause_and_no_reference_leads_nowhere(
    kafka: Kafka, open_dead_letter_topic: Callable[..., KafkaDeadLetterQueue]
) -> None:
    topic = kafka.new_topic(name="dlq", config=NARROW)
    queue = open_dead_letter_topic(topic, claim_checks=Kept(refuse=True), **{"compression.type": "none"})
    failure = (await queue.publish([letter_of(make_record(b"x" * 50_000))])).failure
    assert failure
    assert failure.reason == "original_not_kept"
    assert not kafka.read(topic)


def letter_of(record: Record | None = None) -> KafkaRecord:
    return to_record(make_dead_letter(record), VERSION)


def by_place(publication: Publication) -> dict[str | None, str]:
    return {place: letter_id for letter_id, place in publication.record_ids.items()}


def places(kafka: Kafka, topic: str) -> dict[str, str]:
    """Return the letter that lies at each place."""
    return {letter.record_id: letter.id for letter in map(DeadLetterRecord, kafka.read(topic))}


async def eventually_publishes(queue: KafkaDeadLetterQueue) -> None:
    """Publish as the pipeline does: again and again."""
    for _ in range(20):
        if not (await queue.publish([letter_of()])).failure:
            return
    raise AssertionError("20 failures in a row")
