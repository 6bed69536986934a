"""A worker stays a member of its group however long it fetches nothing, and joins one that refused it at first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from keepstream.app.errors import FATAL
from tests.acceptance.conftest import System, Worker
from tests.builders import make_value
from tests.contract.faust_program import stays
from tests.contract.process_faults import CLOCK_LEAPS, sabotaged
from tests.real import eventually

pytestmark = pytest.mark.real

STAND_BY_S = 8
"""Long enough for several heartbeats after the leap."""


def leaping_worker(system: System, number: int = 0) -> tuple[Worker, Path]:
    """Start a worker whose clock leaps two hours ahead once the file exists."""
    leap = system.folder / f"leap-{number}"
    return sabotaged(system, CLOCK_LEAPS, CLOCK_LEAPS_WHEN=str(leap)), leap


def members(system: System) -> int:
    """Return how many members the group has."""
    admin = AdminClient({"bootstrap.servers": system.kafka.bootstrap_servers})
    return len(admin.describe_consumer_groups([system.group_id])[system.group_id].result(20).members)


def stays_a_member(system: System, leap: Path, count: int = 1) -> None:
    leap.touch()
    stays(lambda: members(system) == count, STAND_BY_S, "a member has left")


def test_a_standby_that_was_idle_for_hours_takes_over(new_system: Callable[..., System]) -> None:
    system = new_system(partitions=1)
    workers = [leaping_worker(system, number) for number in range(2)]
    eventually(lambda: all(worker.get("/readyz")[0] == 200 for worker, _ in workers), 40, "both are ready")
    eventually(lambda: sum(is_owner(worker) for worker, _ in workers) == 1, 40, "one of them owns the partition")
    (owner, _), (_standby, leap) = sorted(workers, key=lambda each: not is_owner(each[0]))
    stays_a_member(system, leap, 2)
    owner.process.kill()
    system.produce(make_value() for _ in range(10))
    system.settled(10)


def is_owner(worker: Worker) -> bool:
    return worker.metric("keepstream_assigned_partitions") == 1


def test_an_outage_of_hours_with_full_queues_ends_by_itself(new_system: Callable[..., System]) -> None:
    system = new_system(partitions=1, KEEPSTREAM_WORKER__BUFFER_BYTES="262144")
    worker, leap = leaping_worker(system)
    system.produce([make_value()])
    system.settled(1)
    with unavailable(system, "events"):
        system.produce(make_value(payload={"filler": "x" * 10_000}) for _ in range(300))
        eventually(lambda: worker.metric("keepstream_paused_partitions") == 1, 30, "the partition is paused")
        stays_a_member(system, leap)
    system.settled(301)


def test_a_worker_that_was_started_hours_before_the_migration_begins_by_itself(
    new_system: Callable[..., System],
) -> None:
    system = new_system(partitions=1)
    with unavailable(system, "stream_offsets"):
        _worker, leap = leaping_worker(system)
        eventually(lambda: members(system) == 1, 40, "it has joined")
        stays_a_member(system, leap)
    system.produce(make_value() for _ in range(10))
    system.settled(10)


@contextmanager
def unavailable(system: System, table: str) -> Iterator[None]:
    """Rename a table, and name it back."""
    system.database.execute(f"ALTER TABLE {table} RENAME TO gone")
    try:
        yield
    finally:
        system.database.execute(f"ALTER TABLE gone RENAME TO {table}")


def test_a_group_of_another_assignor_is_joined_once_its_members_have_left(system: System) -> None:
    old = Consumer({
        "bootstrap.servers": system.kafka.bootstrap_servers, "group.id": system.group_id,
        "partition.assignment.strategy": "range",
    })  # fmt: skip
    old.subscribe([system.topic])
    eventually(lambda: old.poll(0.1) or old.assignment(), 30, "the old consumer has joined")
    worker = system.start_worker()
    eventually(lambda: "partition.assignment.strategy" in worker.get("/readyz")[1], 30, "/readyz has the reason")
    eventually(lambda: any("not a member of the group" in line["event"] for line in worker.log()), 20, "the log has it")
    old.close()
    system.produce(make_value() for _ in range(20))
    system.settled(20)
    eventually(lambda: worker.get("/readyz")[0] == 200, 10, "the worker is ready")


def test_a_worker_that_its_group_never_takes_ends_and_says_why(new_system: Callable[..., System]) -> None:
    """The broker takes no session below six seconds."""
    system = new_system(
        KEEPSTREAM_KAFKA__SESSION_TIMEOUT_S="4", KEEPSTREAM_KAFKA__HEARTBEAT_INTERVAL_S="1",
        KEEPSTREAM_WORKER__PROGRESS_TIMEOUT_S="6",
    )  # fmt: skip
    worker = system.start_worker()
    eventually(lambda: "SESSION_TIMEOUT_S" in worker.get("/readyz")[1], 30, "/readyz has the reason")
    eventually(lambda: worker.process.exit_code is not None, 30, "the worker ends")
    assert worker.process.exit_code == FATAL
    (reason,) = (line["event"] for line in worker.log() if line["level"] == "critical")
    assert "not a member of the group" in reason
    assert "SESSION_TIMEOUT_S" in reason
