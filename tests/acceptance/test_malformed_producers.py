"""Producers that break what nobody thinks of, retention that was quicker than the worker: on real parts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.raw_headers import RawName
from tests.real import eventually

pytestmark = pytest.mark.real

STATIC = {"KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID": "one"}


def test_too_many_dead_letters_pause_the_partition_until_an_operator_resumes_it(
    new_system: Callable[..., System],
) -> None:
    system = new_system(**STATIC, KEEPSTREAM_WORKER__BATCH_SIZE="10")
    worker = system.start_worker(KEEPSTREAM_WORKER__FLOOD_LIMIT="20", KEEPSTREAM_WORKER__FLOOD_WINDOW="50")
    system.produce(make_value() if i % 5 else b"broken" for i in range(100))
    system.settled(100)
    system.produce(b"broken contract" for _ in range(200))
    eventually(lambda: "records became dead letters" in worker.get("/readyz")[1], 30, "the partition is held")
    assert "KEEPSTREAM_WORKER__FLOOD_LIMIT" in worker.get("/readyz")[1]
    assert worker.get("/livez")[0] == 200
    held_at = system.database.totals()
    assert 20 <= held_at["failed"] <= 20 + 20
    assert len([line for line in worker.log() if line["event"] == "partition paused"]) == 1
    eventually(lambda: worker.metric("keepstream_paused_partitions") == 1)
    assert worker.process.stop() == 0
    assert system.database.totals() == held_at
    system.start_worker(KEEPSTREAM_WORKER__FLOOD_LIMIT="0")
    system.settled(300)
    system.assert_consistent()
    assert system.database.totals()["failed"] == 220


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_batch_that_unpacks_beyond_the_limit_pauses_its_partition_only(
    new_system: Callable[..., System], codec: str
) -> None:
    system = new_system(partitions=2, **STATIC)
    system.produce((make_value() for _ in range(5)), partition=0)
    bomb = {"compression.type": codec, "message.max.bytes": 200_000_000, "batch.size": 200_000_000}
    system.produce([b"0" * 60_000_000], partition=0, settings=bomb)
    system.produce((make_value() for _ in range(5)), partition=1)
    worker = system.start_worker()
    eventually(lambda: "when decompressed" in worker.get("/readyz")[1], 30, "the partition is held")
    system.settled(10)
    system.produce((make_value() for _ in range(5)), partition=1)
    system.settled(15)
    assert worker.get("/livez")[0] == 200
    assert worker.peak_mb() < 200
    assert [line["reason"] for line in worker.log() if line["event"] == "partition paused"] == ["unreadable_batch"]
    assert worker.process.stop() == 0
    system.start_worker(KEEPSTREAM_KAFKA__UNPACK_MAX_BYTES="64000000")
    system.settled(16)
    system.assert_consistent()
    assert system.database.totals()["failed"] == 1


def test_a_header_name_that_is_no_text_neither_stops_the_worker_nor_costs_a_record(system: System) -> None:
    system.produce(make_value() for _ in range(5))
    asyncio.run(produce_raw(system, [make_value(), b"broken", make_value()]))
    system.produce(make_value() for _ in range(5))
    worker = system.start_worker()
    system.settled(13)
    system.assert_consistent()
    (letter,) = system.dead().values()
    assert letter.value == b"broken"
    assert ("\\xff\\xfename", b"1") in letter.headers
    assert worker.process.exit_code is None


async def produce_raw(system: System, values: list[bytes]) -> None:
    """Send one batch whose records have a header name that is not UTF-8."""
    producer = AIOKafkaProducer(bootstrap_servers=system.kafka.bootstrap_servers)
    await producer.start()
    try:
        batch = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 10**6)
        for value in values:
            assert batch.append(key=b"k", value=value, timestamp=None, headers=[(RawName("x"), b"1")])
        await (await producer.send_batch(batch, system.topic, partition=0))
    finally:
        await producer.stop()


def test_a_thousand_headers_reach_the_dead_letter(system: System) -> None:
    headers = [(f"h{i % 10}", b"%d" % i) for i in range(1000)]
    system.produce([b"broken", make_value()], headers=headers)
    system.start_worker()
    system.settled(2)
    system.assert_consistent()
    (letter,) = system.dead().values()
    assert list(letter.headers)[:1000] == headers


@pytest.mark.parametrize("recreated", [False, True], ids=["retention", "re-created"])
def test_a_gap_stops_the_worker_where_that_was_asked_for_until_somebody_says_continue(
    new_system: Callable[..., System], recreated: bool
) -> None:
    system = new_system(**STATIC)
    system.produce(make_value() for _ in range(10))
    first = system.start_worker()
    system.settled(10)
    assert first.process.stop() == 0
    admin = AdminClient({"bootstrap.servers": system.kafka.bootstrap_servers})
    if recreated:
        admin.delete_topics([system.topic])[system.topic].result(timeout=30)
        eventually(lambda: system.topic not in admin.list_topics(timeout=10).topics, 30)
        system.kafka.create_topic(system.topic)
        system.produce(make_value() for _ in range(5))
    else:
        system.produce(make_value() for _ in range(10))
        place = TopicPartition(system.topic, 0, 15)
        admin.delete_records([place])[place].result(timeout=30)
    stopped = system.start_worker(KEEPSTREAM_KAFKA__ON_GAP="stop")
    eventually(lambda: stopped.process.exit_code is not None, 40, "it stops")
    assert stopped.process.exit_code == 70
    reason = next(line["event"] for line in stopped.log() if line["level"] == "critical")
    begin = "0 (recreated)" if recreated else "15 (gap)"
    assert reason.startswith(
        f"fatal: error: {system.topic}-0 no longer has the stored offset 10, but begins at {begin}"
    )
    assert system.database.rows("SELECT next_offset FROM stream_offsets") == [(10,)]
    continued = system.start_worker(KEEPSTREAM_KAFKA__ON_GAP="continue")
    system.settled(15)
    system.assert_consistent()
    if not recreated:
        assert continued.metric(f'keepstream_offset_gap_events_total{{topic="{system.topic}"}}') == 5


def test_a_dead_letter_of_a_recreated_topic_is_another_one_than_that_of_the_same_offset_before(system: System) -> None:
    """Both are listed, found by id, replayed once each, and the audit finds nothing."""
    system.produce([b"{", make_value(), b"["])
    first = system.start_worker()
    system.settled(3)
    assert first.process.stop() == 0
    admin = AdminClient({"bootstrap.servers": system.kafka.bootstrap_servers})
    admin.delete_topics([system.topic])[system.topic].result(timeout=30)
    eventually(lambda: system.topic not in admin.list_topics(timeout=10).topics, 30)
    system.kafka.create_topic(system.topic)
    system.produce([b"{", make_value(event_id="mended", payload=7)])
    system.start_worker()
    system.settled(5)
    system.assert_consistent()
    topic = system.topic
    ids = [f"{topic}~1-0-1", f"{topic}~1-0-0", f"{topic}-0-2", f"{topic}-0-0"]
    listed = [json.loads(line) for line in system.cli("dlq", "list", "--json").stdout.splitlines()]
    assert sorted(row["id"] for row in listed) == sorted(ids)
    assert {row["origin_topic"] for row in listed} == {topic}
    assert {row["state"] for row in listed} == {"open"}
    for dead_letter_id in ids:
        shown = json.loads(system.cli("dlq", "show", dead_letter_id, "--json").stdout)
        assert (shown["id"], shown["origin_offset"]) == (dead_letter_id, int(dead_letter_id.rpartition("-")[2]))
    named = system.cli("dlq", "replay", "--yes", "--set", "payload={}", "--wait", "--json", ids[0])
    assert json.loads(named.stdout)["delivered"] == 1
    rest = json.loads(system.cli("dlq", "replay", "--yes", "--wait", "--json").stdout)
    assert (rest["selected"], rest["replayed"], rest["dead_again"]) == (3, 3, 3)
    states = dict(system.database.rows("""SELECT topic || '-' || "offset", state FROM dead_letters"""))
    assert states == {
        f"{topic}~1-1": "settled", f"{topic}~1-0": "dead_again", f"{topic}-2": "dead_again", f"{topic}-0": "dead_again",
        f"{topic}~1-3": "open", f"{topic}~1-4": "open", f"{topic}~1-5": "open",
    }  # fmt: skip
    system.assert_consistent()
