"""All hostile records through a real Kafka and the real worker: each ends in one place, dead letters byte for byte."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from keepstream.processors.validation.contract import Verdict
from keepstream.processors.validation.validate import validate
from keepstream.schemas.dead_letter import ERROR, ORIGIN, PREFIX
from keepstream.schemas.event import Rejection, ValidEvent
from keepstream.schemas.record import KafkaRecord
from tests.acceptance.conftest import System
from tests.malicious_input.records import hostile_records
from tests.malicious_input.resource_exhaustion import bombs

pytestmark = pytest.mark.real

Content = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
"""Key, value, headers."""
WORD = re.compile("[a-z0-9_]{3,40}")


def contents() -> list[Content]:
    whole = [(record.key, record.value, [*record.headers]) for record in hostile_records()]
    return whole + [(b"bomb", value, []) for value in bombs(100_000).values()]


def verdicts(sent: Sequence[Content], topic: str, timestamps: Sequence[int]) -> list[Verdict]:
    return [
        validate(KafkaRecord(topic, 0, offset, timestamps[offset], key, value, headers))
        for offset, (key, value, headers) in enumerate(sent)
    ]


async def produce(system: System, sent: Sequence[Content]) -> None:
    """Send with aiokafka: librdkafka cannot write all these names."""
    producer = AIOKafkaProducer(bootstrap_servers=system.kafka.bootstrap_servers, linger_ms=5, acks="all")
    await producer.start()
    try:
        waiting = [await producer.send(system.topic, value, key, 0, headers=headers) for key, value, headers in sent]
        done = await asyncio.gather(*waiting)
        assert [metadata.offset for metadata in done] == list(range(len(sent)))
    finally:
        await producer.stop()


async def read(system: System, topic: str) -> list[Any]:
    """Read with aiokafka, for the same reason."""
    consumer = AIOKafkaConsumer(bootstrap_servers=system.kafka.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        place, found = TopicPartition(topic, 0), list[Any]()
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        while await consumer.position(place) < end:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                found += records
        return found
    finally:
        await consumer.stop()


def original(headers: Sequence[tuple[str, bytes | None]], sent: Sequence[tuple[str, bytes | None]]) -> list[Any]:
    """Leave out what the worker added: our own, and an origin that the record had not brought along."""
    brought = {name for name, _ in sent}
    added = {*ERROR, *(name for name in ORIGIN if name not in brought)}
    return [(n, v) for n, v in headers if n not in added and not n.startswith(PREFIX)]


def kept(headers: Sequence[tuple[str, bytes | None]]) -> list[Any]:
    """Say what has to be left of a record's own headers: a NUL in a name is all that the client cannot carry."""
    last = max((i for i, (name, _) in enumerate(headers) if name == "traceparent"), default=-1)
    return [
        (name.replace("\0", "\ufffd"), value)
        for i, (name, value) in enumerate(headers)
        if name not in ERROR and not name.startswith(PREFIX) and (name != "traceparent" or i == last)
    ]


def test_the_whole_hostile_set_is_delivered_or_dead_lettered_byte_for_byte(system: System) -> None:
    sent = contents()
    asyncio.run(produce(system, sent))
    source = asyncio.run(read(system, system.topic))
    expected = verdicts(sent, system.topic, [record.timestamp for record in source])
    refused = {offset: verdict.reason for offset, verdict in enumerate(expected) if isinstance(verdict, Rejection)}
    worker = system.start_worker()
    system.settled(len(sent), 60)
    totals = system.database.totals()
    assert len(sent) == sum(totals[name] for name in ("delivered", "duplicate", "stale", "failed"))
    assert totals["failed"] == len(refused)
    ids = {verdict.event_id for verdict in expected if isinstance(verdict, ValidEvent)}
    assert {row[0] for row in system.database.rows("SELECT event_id FROM events")} == ids
    assert totals["delivered"] == len(ids)

    letters = asyncio.run(read(system, system.dlq_topic))
    assert len(letters) == len(refused)
    for letter in letters:
        added = dict(letter.headers)
        offset = int(added[PREFIX + "id"].rpartition(b"-")[2])
        key, value, headers = sent[offset]
        assert (letter.key, letter.value) == (key, value)
        assert original(letter.headers, headers) == kept(headers)
        assert int(added[PREFIX + "original-timestamp"]) == source[offset].timestamp
        assert added[PREFIX + "reason"].decode() == refused.pop(offset)
    assert refused == {}

    check_labels(worker.get("/metrics")[1], system.topic)
    check_commands(system)
    assert worker.process.stop() == 0


def check_commands(system: System) -> None:
    """What could be stored can be shown: the longest number, and the id that is hardest to print."""
    query = "SELECT event_id FROM events ORDER BY length(payload::text) DESC LIMIT 1"
    longest = str(system.database.value(query))
    digits = "SELECT event_id FROM events WHERE payload::text ~ '([0-9]{250}){20}' LIMIT 1"
    for event_id in (longest, str(system.database.value(digits)), "\u202eevil\u202c", "'; DROP TABLE events; --"):
        shown = json.loads(system.cli("events", "show", event_id, "--json").stdout, parse_int=str)  # 131,072 digits
        assert shown["event"]["event_id"] == event_id
        system.cli("events", "show", event_id)
    system.cli("events", "list")


def check_labels(text: str, topic: str) -> None:
    """Labels come from closed sets: the topic, numbers, words of ours. Nothing that was sent is found in them."""
    seen: Counter[str] = Counter()
    ours = [line for line in text.splitlines() if line.startswith("keepstream_") and "build_info" not in line]
    for line in ours:
        for name, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', line):
            seen[name] += 1
            harmless = WORD.fullmatch(value) or name == "le"
            assert harmless or (name, value) in {("topic", topic), ("partition", "0")}, line
    assert 0 < seen["reason"] < 60
    assert seen.total() < 500


async def produce_bomb(system: System, count: int, value: bytes) -> None:
    """Send values as one batch that is compressed as well as can be."""
    limit = 2 * count * len(value)
    producer = AIOKafkaProducer(
        bootstrap_servers=system.kafka.bootstrap_servers, compression_type="zstd", linger_ms=2000, acks="all",
        max_batch_size=limit, max_request_size=limit,
    )  # fmt: skip
    await producer.start()
    try:
        await asyncio.gather(*[await producer.send(system.topic, value, partition=0) for _ in range(count)])
    finally:
        await producer.stop()


def test_a_batch_of_a_few_kilobytes_that_unpacks_to_100_mb_is_worked_off_where_it_may(
    new_system: Callable[..., System],
) -> None:
    """Whoever raises the limit pays for it: memory follows the unpacked batch."""
    system = new_system(KEEPSTREAM_KAFKA__UNPACK_MAX_BYTES="128000000")
    asyncio.run(produce_bomb(system, 100, bytes(1_000_000)))
    worker = system.start_worker()
    system.settled(100, 60)
    assert system.database.totals()["failed"] == 100
    assert worker.peak_mb() < 900
    print(f"peak of the worker's memory: {worker.peak_mb()} MB")
    assert worker.process.stop() == 0
