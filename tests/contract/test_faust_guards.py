"""keepstream under the input of Faust's traps: nothing is lost, nothing stalls, nothing is counted twice.

The other half of `test_faust_traps`. The worker is a process of its own; where something has to break that cannot be
broken from outside, the process starts with a few lines of sabotage (a `sitecustomize` module on its path).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from keepstream.app.errors import FATAL
from tests.acceptance.conftest import System, Worker
from tests.builders import make_value
from tests.contract import process_faults
from tests.contract.faust_program import SMALL_RECORDS, TOO_LARGE, Group, Transactions, stays
from tests.contract.process_faults import sabotaged
from tests.real import Database, Kafka, eventually

pytestmark = pytest.mark.real


@pytest.fixture
def new_system(kafka: Kafka, database: Database, tmp_path: Path) -> Iterator[Callable[..., System]]:
    """Make a system; its workers end with the test."""
    made: list[System] = []

    def new(partitions: int = 1, **environment: str) -> System:
        made.append(System(kafka, database, tmp_path, partitions, environment))
        return made[-1]

    yield new
    for system in made:
        system.stop()


@pytest.fixture
def system(new_system: Callable[..., System]) -> System:
    return new_system()


def ready_worker(system: System) -> Worker:
    worker = system.start_worker()
    eventually(lambda: worker.get("/readyz")[0] == 200, 20, "the worker is ready")
    return worker


def static_member(system: System) -> None:
    """Let a worker that died come back under its name, without waiting for its session to end."""
    system.environment["KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID"] = "one"


def committed(system: System, partition: int = 0) -> int | None:
    group = Group(system.kafka.bootstrap_servers, system.group_id)
    try:
        return group.committed(system.topic, partition)
    finally:
        group.close()


def values(count: int) -> list[bytes]:
    return [make_value() for _ in range(count)]


def wait_for_exit(worker: Worker, code: int) -> None:
    eventually(lambda: worker.process.exit_code is not None, 30, "the worker ended")
    assert worker.process.exit_code == code, worker.process.log_end()


def assert_all_delivered(system: System, count: int) -> None:
    """Every record is a delivered row, was counted once, and Kafka knows it."""
    system.settled(count)
    system.assert_consistent()
    assert system.database.totals()["delivered"] == count
    eventually(lambda: system.committed_lag() == 0, 20, "the commits reach the end")


def test_an_unforeseen_error_ends_the_worker_and_the_next_one_reads_the_batch_again(system: System) -> None:
    """T1, T2, T3, T4, T5: no code carries on after an exception, so none can acknowledge anything."""
    static_member(system)
    system.environment["KEEPSTREAM_WORKER__BATCH_SIZE"] = "5"
    system.produce(values(30))
    wait_for_exit(sabotaged(system, process_faults.UNFORESEEN), FATAL)
    assert system.database.totals()["delivered"] == 5
    assert committed(system) in (None, 0, 5)
    system.start_worker()
    assert_all_delivered(system, 30)


def test_a_batch_in_flight_is_not_committed_by_its_neighbours_and_a_full_buffer_drops_nothing(
    new_system: Callable[..., System],
) -> None:
    """T9, T12: a queue that is full holds back the fetching of its partition, and only that."""
    system = new_system(partitions=2, KEEPSTREAM_WORKER__BUFFER_BYTES="262144")
    worker = ready_worker(system)
    with system.database.connect() as blocker, blocker.transaction():
        blocker.execute("SELECT 1 FROM stream_offsets WHERE partition = 0 FOR UPDATE")
        system.produce((make_value(payload={"filler": "x" * 10_000}) for _ in range(300)), partition=0)
        system.produce(values(20), partition=1)
        eventually(lambda: committed(system, 1) == 20, 20, "partition 1 is committed")
        assert not committed(system, 0)
    assert_all_delivered(system, 320)
    rows = system.database.rows("SELECT source_offset FROM events WHERE source_partition = 0 ORDER BY source_offset")
    assert rows == [(offset,) for offset in range(300)]
    assert worker.process.exit_code is None


def test_a_graceful_stop_does_not_commit_what_is_in_flight(system: System) -> None:
    """T6: the offset moves in the transaction that stores the records, and Kafka hears of it after that."""
    system.environment["KEEPSTREAM_WORKER__DRAIN_TIMEOUT_S"] = "0.5"
    worker = ready_worker(system)
    with system.database.connect() as blocker, blocker.transaction():
        blocker.execute("SELECT 1 FROM stream_offsets FOR UPDATE")
        system.produce(values(10))
        eventually(lambda: system.database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), 20, "it waits")
        assert worker.process.stop() == 0
        assert not committed(system)
        assert system.database.totals()["total"] == 0
    system.start_worker()
    system.settled(10)
    system.assert_consistent()
    assert system.database.totals()["delivered"] == 10


def test_a_crash_of_faust_commits_nothing_that_is_in_flight(system: System) -> None:
    """T7: the worker leaves with 70 while a batch waits for a lock; whatever Faust does on its way out is harmless."""
    static_member(system)
    system.produce(values(1))
    worker = sabotaged(system, process_faults.FETCHING_DIES)
    system.settled(1)
    with system.database.connect() as blocker, blocker.transaction():
        blocker.execute("SELECT 1 FROM stream_offsets FOR UPDATE")
        system.produce(values(9))
        wait_for_exit(worker, FATAL)
        assert committed(system) in (None, 0, 1)
    system.start_worker()
    system.settled(10)
    system.produce(values(1))
    assert_all_delivered(system, 11)


def test_what_was_settled_before_a_kill_is_committed_by_the_next_worker(system: System) -> None:
    """T21: an idle topic must not look as if it lagged."""
    static_member(system)
    system.produce(values(10))
    worker = system.start_worker(KEEPSTREAM_KAFKA__COMMIT_INTERVAL_S="3600")
    system.settled(10)
    worker.process.kill()
    ready_worker(system)
    eventually(lambda: system.committed_lag() == 0, 2, "the commits reach the end")


@pytest.mark.parametrize(
    "code", [process_faults.STARTING_FAILS, process_faults.GAUGES_FAIL], ids=["start offsets", "gauges"]
)
def test_an_unforeseen_error_behind_the_scenes_ends_the_worker_too(system: System, code: str) -> None:
    """T34: a task that nobody waits for must not die in silence."""
    worker = sabotaged(system, code)
    wait_for_exit(worker, FATAL)
    assert [line["event"] for line in worker.log() if line["level"] == "critical"] == ["fatal: ValueError: unforeseen"]


def test_holes_in_the_offsets_neither_hold_the_commits_back_nor_push_them_ahead(system: System) -> None:
    """T9, T10, T31: markers of transactions, aborted records, records that retention deleted; lag 0 at the end."""
    system.topic = topic = system.kafka.new_topic(6, config=SMALL_RECORDS)
    transactions = Transactions(system.kafka.bootstrap_servers, topic)
    transactions.commit(values(1), 0)  # a wide hole right after offset 0
    transactions.marker_only(0)
    transactions.marker_only(0)
    system.produce(values(9), partition=0)
    transactions.commit(values(5), 1)  # holes between records and at the end
    transactions.abort(values(7), 1)
    transactions.commit(values(5), 1)
    transactions.abort(values(3), 2)  # a hole first
    system.produce(values(10), partition=2)
    transactions.abort(values(10), 3)  # nothing but a hole
    system.produce(values(12), partition=4)  # retention took the head
    system.produce(values(4), partition=5)  # retention took everything
    delete_records(system, {4: 5, 5: 4})
    system.start_worker()
    ends = [13, 20, 14, 11, 12]
    eventually(lambda: [committed(system, p) for p in range(5)] == ends, 20, "the commits reach the end")
    assert committed(system, 5) in (None, 4)
    rows = system.database.rows("SELECT delivered, total FROM event_counters ORDER BY partition")
    assert rows == [(count, count) for count in (10, 10, 10, 0, 7, 0)]
    system.assert_consistent()


def delete_records(system: System, before: dict[int, int]) -> None:
    admin = AdminClient({"bootstrap.servers": system.kafka.bootstrap_servers})
    for deleted in admin.delete_records([TopicPartition(system.topic, *place) for place in before.items()]).values():
        deleted.result(timeout=20)


def test_without_its_cython_extension_the_worker_does_not_start(system: System) -> None:
    """T11: it would acknowledge what it skips."""
    system.produce(values(1))
    worker = system.start_worker(NO_CYTHON="1")
    wait_for_exit(worker, FATAL)
    assert "Cython" in worker.process.log_end()
    assert not committed(system)


def test_what_cannot_be_decoded_becomes_a_dead_letter_and_waits_for_the_broker_to_take_it(system: System) -> None:
    """T8, T13: nothing is committed before every dead letter is confirmed; the neighbours are delivered."""
    system.dlq_topic = system.kafka.new_topic(config=SMALL_RECORDS)
    system.database.execute("ALTER TABLE dead_letter_originals RENAME TO gone")  # so that it can be kept nowhere else
    worker = system.start_worker()
    refused = random.Random(0).randbytes(TOO_LARGE)  # dead letters are compressed
    broken = [None, b"", b"\xff\xfe", b"not json", refused]
    system.produce([*values(5), *broken, *values(5)])
    eventually(lambda: "original_not_kept" in worker.process.log_end(), 20, "the dead letter is refused")
    system.produce(values(5))
    stays(lambda: not committed(system), 1, "it was committed without its dead letter")
    stays(
        lambda: system.database.totals()["total"] <= 15,
        1,
        "more was settled behind a dead letter that is not published",
    )
    allow_records_of(system, 2 * TOO_LARGE)
    system.settled(20)
    system.assert_consistent()
    assert [letter.value for letter in system.dead().values()] == broken
    eventually(lambda: system.committed_lag() == 0, 20, "the commits reach the end")


def allow_records_of(system: System, size: int) -> None:
    admin = AdminClient({"bootstrap.servers": system.kafka.bootstrap_servers})
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, system.dlq_topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(timeout=20)


def test_a_failed_commit_is_made_up_for_by_the_next(system: System) -> None:
    """T30: what is committable is known from the queues, and survives a commit that fails."""
    system.produce(values(10))
    worker = sabotaged(system, process_faults.COMMITS_FAIL_TWICE)
    assert_all_delivered(system, 10)
    assert worker.metric("keepstream_offset_commit_failures_total") == 2
    assert worker.process.stop() == 0
