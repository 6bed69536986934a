"""Kafka's offsets and logs change behind the worker's back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.faults import admin
from tests.faults.produced_ledger import LedgerProducer, close, reckon, settled, warmed_up
from tests.faults.report import Row
from tests.real import eventually

pytestmark = pytest.mark.real


def test_deleted_group_offsets_change_nothing(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    deleted = row("the group's committed offsets deleted")
    system = new_system(partitions=2)
    producer = new_producer(system)
    assert warmed_up(system, producer).process.stop() == 0
    with deleted.active():
        admin.delete_group(system.kafka, system.group_id)
    producer.send(100)
    system.start_worker()
    deleted.recovers(lambda: settled(system) > 200, 60)
    found = reckon(system, producer)
    system.assert_consistent()
    assert system.database.totals()["duplicate"] == 0
    deleted.closes(found)


def test_a_retention_gap_is_counted_to_the_record_and_said_aloud(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    gap = row("retention deleted 200 records unread: told, not hidden")
    system = new_system()
    producer = new_producer(system)
    assert warmed_up(system, producer, 100).process.stop() == 0
    known = producer.acknowledged()
    producer.send(200)
    unread = frozenset(producer.acknowledged() - known)
    producer.send(200)
    with gap.active():
        admin.delete_records(system.kafka, system.topic, before=300)
    worker = system.start_worker()
    gap.recovers(lambda: settled(system) == 300, 60)
    assert worker.metric(f'keepstream_offset_gap_events_total{{topic="{system.topic}"}}') == 200
    assert any("retention deleted 200 records" in line["event"] for line in worker.log())
    found = reckon(system, producer, earlier_records=100, deleted=unread)
    system.assert_consistent()
    gap.closes(found)


def test_a_gap_is_counted_once_also_when_nothing_comes_after_it(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    gap = row("retention deleted 200 records unread, and nothing new comes")
    system = new_system()
    producer = new_producer(system)
    assert warmed_up(system, producer, 100).process.stop() == 0
    known = producer.acknowledged()
    producer.send(200)
    unread = frozenset(producer.acknowledged() - known)
    with gap.active():
        admin.delete_records(system.kafka, system.topic, before=300)
    counted = f'keepstream_offset_gap_events_total{{topic="{system.topic}"}}'
    first = system.start_worker()
    gap.recovers(lambda: first.metric(counted) == 200, 60)
    assert first.process.stop() == 0
    second = system.start_worker(KEEPSTREAM_KAFKA__ON_GAP="stop")
    eventually(lambda: second.get("/readyz")[0] == 200, 60, "the gap is known: no reason to stop")
    assert second.metric(counted) == 0
    assert not any("retention deleted" in line["event"] for line in second.log())
    producer.send(100)
    system.settled(200)
    assert system.database.rows("SELECT next_offset, consumed, skipped FROM stream_offsets") == [(400, 200, 200)]
    gap.closes(reckon(system, producer, earlier_records=100, deleted=unread))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_an_added_partition_is_read_from_its_first_record(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    added = row("partitions added to the topic")
    system = new_system(partitions=2)
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    with added.active():
        admin.add_partitions(system.kafka, system.topic, 4)
        eventually(lambda: len(admin.ends(system.kafka, system.topic)) == 4, 30)
    eventually(lambda: producer.spreads_over(4), 60, "the producer knows the new partitions")
    producer.send(1000)
    added.recovers(lambda: settled(system) == 1200, 120, "the new partitions are read")
    assert worker.metric("keepstream_assigned_partitions") == 4
    producer.send(100)
    close(added, system, producer, worker)


@pytest.mark.parametrize(
    ("running", "records"),
    [
        pytest.param(False, 300, id="stopped-longer"),
        pytest.param(False, 100, id="stopped-shorter", marks=pytest.mark.long),
        pytest.param(True, 300, id="running-longer", marks=pytest.mark.long),
        pytest.param(True, 100, id="running-shorter", marks=pytest.mark.long),
    ],
)
def test_a_recreated_topic_is_read_from_its_start(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row],
    running: bool, records: int,
) -> None:  # fmt: skip
    """The worker stood at offset 200: a longer log of the same name would be skipped up to there."""
    length = "shorter" if records < 200 else "longer"
    anew = row(f"topic re-created, {length}, the worker {'running' if running else 'stopped'}")
    system = new_system()
    producer = new_producer(system, broken_every=10**9)
    worker = warmed_up(system, producer)
    if not running:
        assert worker.process.stop() == 0
    with anew.active():
        admin.delete_topic(system.kafka, system.topic)
        system.kafka.create_topic(system.topic)
        successor = new_producer(system, broken_every=10**9)
        successor.send(records)
    if not running:
        system.start_worker()
    anew.recovers(lambda: settled(system) >= 200 + records, 90, "the new topic is read")
    found = reckon(system, successor, earlier_records=200)
    system.assert_consistent()
    assert system.database.totals()["delivered"] == 200 + records
    assert any("re-created" in line["event"] for line in system.workers[-1].log())
    anew.closes(found)


@pytest.mark.parametrize("paused", [False, True], ids=["idle", "paused"])
def test_a_topic_that_is_recreated_unseen_is_read_from_its_start(
    new_system: Callable[..., System], row: Callable[[str], Row], *, paused: bool
) -> None:
    """By the time the worker looks, the new log has grown past its position: no fetch fails."""
    unseen = row(f"topic re-created and filled unseen, the partition {'paused' if paused else 'idle'}")
    system = new_system()
    worker = system.start_worker()
    system.produce(make_value() for _ in range(5))
    system.settled(5)
    if paused:
        system.database.execute("ALTER TABLE events RENAME COLUMN metadata TO gone")
        system.produce([make_value()])
        eventually(lambda: worker.metric("keepstream_paused_partitions") == 1, 30, "the partition is paused")
    os.kill(worker.process.pid, signal.SIGSTOP)
    with unseen.active():
        admin.delete_topic(system.kafka, system.topic)
        system.kafka.create_topic(system.topic)
        system.produce(make_value() for _ in range(50))
    os.kill(worker.process.pid, signal.SIGCONT)
    if paused:
        eventually(lambda: any("re-created" in line["event"] for line in worker.log()), 60, "it is noticed")
        system.database.execute("ALTER TABLE events RENAME COLUMN gone TO metadata")
    unseen.recovers(lambda: system.database.value("SELECT count(*) FROM events") == 55, 60)
    assert worker.process.exit_code is None
