"""The worker as a process, on bad days."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keepstream.schemas.record import header
from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.real import Kafka, Postgres, Servers, eventually

pytestmark = pytest.mark.real

WAITING_BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
END_WAITING_BACKENDS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
)


@pytest.fixture
def own_system(own_servers: Servers, tmp_path: Path) -> Iterator[System]:
    """A system on servers that the test may stop and kill."""
    with Postgres(own_servers.postgres_url).new_schema() as database:
        system = System(Kafka(own_servers.bootstrap_servers), database, tmp_path, partitions=4)
        yield system
        system.stop()


def test_kill_between_store_and_settle_counts_nothing_twice(system: System) -> None:
    system.database.execute("ALTER TABLE events ADD CONSTRAINT affordable CHECK ((payload ->> 'amount')::int < 100)")
    with system.database.connect() as blocker:
        pid = blocker.info.backend_pid
        system.produce(make_value(payload={"amount": 1000 if i == 50 else 1}) for i in range(100))
        worker = system.start_worker()
        eventually(lambda: worker.get("/readyz")[0] == 200, 30)
        eventually(lambda: system.database.value("SELECT count(*) FROM event_counters") == 1)
        system.settled(100)
        with blocker.transaction():
            # Rows can be written, but not counted, while somebody holds the counters.
            blocker.execute("SELECT 1 FROM event_counters FOR UPDATE")
            system.produce(make_value(payload={"amount": 1000 if i == 50 else 1}) for i in range(100))
            eventually(lambda: system.database.value(WAITING_BACKENDS, pid) > 0, 30, "rows are written and not counted")
            worker.process.kill()
            # A backend that waits for a lock does not see that its client died: once the row is free, it would count.
            system.database.value(END_WAITING_BACKENDS, pid)
            eventually(
                lambda: system.database.value(WAITING_BACKENDS, pid) == 0, 30, "the killed worker's backend ends"
            )
    assert system.database.totals()["total"] == 100
    system.start_worker()
    system.settled(200)
    system.assert_consistent()
    totals = system.database.totals()
    assert (totals["delivered"], totals["failed"], totals["duplicate"]) == (198, 2, 0)


def test_kills_in_full_flight_lose_and_double_nothing(new_system: Callable[..., System]) -> None:
    system = new_system(partitions=4)
    system.produce((b"broken" if i % 50 == 0 else make_value()) for i in range(20_000))
    for share in (0.1, 0.4, 0.7):
        worker = system.start_worker()
        eventually(lambda share=share: system.database.totals()["total"] >= share * 20_000, 90)  # type: ignore[misc]
        worker.process.kill()
    system.start_worker()
    system.settled(20_000, 120)
    system.assert_consistent()
    totals = system.database.totals()
    assert (totals["delivered"], totals["failed"], totals["duplicate"]) == (19_600, 400, 0)


def test_a_restart_of_kafka_is_survived(own_servers: Servers, own_system: System) -> None:
    assert own_servers.kafka
    own_system.produce(make_value() for _ in range(1000))
    worker = own_system.start_worker()
    own_system.settled(1000)
    own_servers.kafka.restart()
    own_system.produce(make_value() for _ in range(1000))
    own_system.settled(2000, 90)
    own_system.assert_consistent()
    assert worker.process.exit_code is None
    assert own_system.database.totals()["failed"] == 0


def test_a_killed_postgres_is_survived(own_servers: Servers, own_system: System) -> None:
    assert own_servers.postgres
    own_system.produce(make_value() for _ in range(10_000))
    worker = own_system.start_worker()
    eventually(lambda: own_system.database.totals()["total"] > 1000, 60)
    own_servers.postgres.kill()
    own_servers.postgres.start()
    own_system.settled(10_000, 90)
    own_system.assert_consistent()
    assert worker.process.exit_code is None
    assert own_system.database.totals()["failed"] == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "outage_s", [pytest.param(12, id="short"), pytest.param(60, id="long", marks=pytest.mark.long)]
)
def test_a_minute_without_postgres_pauses_and_resumes_by_itself(
    own_servers: Servers, own_system: System, outage_s: float
) -> None:
    """In the short form longer than two attempts to connect, and than Kafka's session."""
    assert own_servers.postgres
    worker = own_system.start_worker()
    own_system.produce(make_value() for _ in range(500))
    own_system.settled(500)
    eventually(lambda: worker.get("/readyz")[0] == 200)
    own_servers.postgres.stop(keep_data=True)
    stopped_at = time.monotonic()
    own_system.produce(make_value() for _ in range(5000))
    eventually(lambda: worker.get("/readyz")[0] == 503, 30, "readiness turns false")
    while time.monotonic() - stopped_at < outage_s:
        assert worker.process.exit_code is None
        assert worker.get("/livez")[0] == 200
        time.sleep(2)
    own_servers.postgres.start()
    own_system.settled(5500, 60)
    eventually(lambda: worker.get("/readyz")[0] == 200, 30, "readiness turns true")
    own_system.assert_consistent()
    totals = own_system.database.totals()
    assert (totals["delivered"], totals["failed"], totals["duplicate"]) == (5500, 0, 0)


def test_partitions_are_shared_when_a_second_worker_joins_and_given_back_when_it_leaves(
    new_system: Callable[..., System],
) -> None:
    system = new_system(partitions=4)
    first = system.start_worker()
    system.produce(make_value() for _ in range(10_000))
    eventually(lambda: system.database.totals()["total"] > 500, 60)
    second = system.start_worker()
    eventually(lambda: second.metric("keepstream_assigned_partitions") == 2, 60, "the second worker has its share")
    eventually(lambda: first.metric("keepstream_assigned_partitions") == 2, 60)
    system.produce(make_value() for _ in range(10_000))
    system.settled(20_000, 120)
    assert second.process.stop() == 0
    eventually(lambda: first.metric("keepstream_assigned_partitions") == 4, 60, "the first has them all again")
    system.produce(make_value() for _ in range(1000))
    system.settled(21_000, 60)
    system.assert_consistent()
    assert system.database.totals()["duplicate"] == 0


def test_without_a_dead_letter_topic_the_partition_waits_and_nothing_is_skipped(system: System) -> None:
    missing = system.dlq_topic = f"{system.dlq_topic}-later"
    worker = system.start_worker(KEEPSTREAM_KAFKA__DLQ_TIMEOUT_S="2")
    system.produce([make_value(), b"broken", make_value()])
    eventually(lambda: missing in worker.get("/readyz")[1], 30, "the partition says why it is paused")
    system.produce([make_value()])
    waiting = "SELECT count(*) FROM dead_letter_outbox"
    assert (system.database.totals()["total"] < 4, system.database.value(waiting)) == (True, 1)
    system.kafka.create_topic(missing, config=DEAD_LETTER_TOPIC_CONFIG)
    system.settled(4, 60)
    system.assert_consistent()
    assert [header(letter, "keepstream.dlq.reason") for letter in system.dead().values()] == ["invalid_json"]


def test_a_missing_column_pauses_instead_of_dead_lettering(system: System) -> None:
    worker = system.start_worker()
    system.produce([make_value()])
    system.settled(1)
    system.database.execute("ALTER TABLE events RENAME COLUMN metadata TO renamed")
    system.produce(make_value() for _ in range(50))
    eventually(lambda: worker.get("/readyz")[0] == 503, 30)
    system.database.execute("ALTER TABLE events RENAME COLUMN renamed TO metadata")
    system.settled(51)
    system.assert_consistent()
    assert system.database.totals()["failed"] == 0


@pytest.mark.parametrize("events", [1, 50])
def test_a_locked_table_is_waited_for(system: System, events: int) -> None:
    worker = system.start_worker(
        KEEPSTREAM_POSTGRES__LOCK_TIMEOUT_S="1", KEEPSTREAM_WORKER__STORE_RETRY__MAX_RETRIES="1"
    )
    system.produce([make_value()])
    system.settled(1)
    with system.database.connect() as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        system.produce(make_value() for _ in range(events))
        eventually(lambda: worker.metric("keepstream_paused_partitions") > 0, 60, "the partition is held")
    system.settled(1 + events)
    system.assert_consistent()
    assert system.database.totals()["failed"] == 0


def test_more_partitions_than_connections_is_no_outage(new_system: Callable[..., System]) -> None:
    """12 partitions over one connection, 0.2 s for each batch: each waits longer than connecting may take."""
    system = new_system(12, KEEPSTREAM_POSTGRES__POOL_SIZE="1", KEEPSTREAM_POSTGRES__CONNECT_TIMEOUT_S="1")
    system.database.execute("""
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END'""")
    system.database.execute("CREATE TRIGGER slow AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION slow()")
    worker = system.start_worker(KEEPSTREAM_WORKER__BATCH_SIZE="5")
    eventually(lambda: worker.get("/readyz")[0] == 200, 30, "the worker is ready")
    for partition in range(12):
        system.kafka.produce(system.topic, [make_value() for _ in range(20)], partition=partition)
    looks = []
    while system.database.totals()["total"] < 240:
        looks.append(worker.get("/readyz"))
    assert {status for status, _ in looks} == {200}
    assert [line for line in worker.log() if "paused" in line["event"] or "PostgreSQL" in line["event"]] == []
