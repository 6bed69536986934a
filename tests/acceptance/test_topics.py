"""Several topics in one worker: each with its own tables, dead letters and database, and troubles of its own only."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from keepstream.app.embedded.postgres import EmbeddedPostgres
from keepstream.app.embedded.service import EmbeddedService
from tests.acceptance.conftest import System, Worker
from tests.acceptance.fleet import EqualIds, Fleet, assigned, go_on, reckon
from tests.contract.faust_program import stays
from tests.faults.admin import delete_topic
from tests.faults.produced_ledger import wait_s
from tests.real import Kafka, Postgres, Servers, eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

PARTITIONS = (1, 4, 8)
ELSEWHERE = 1
"""The topic whose tables are in the other PostgreSQL."""
FAILS = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION full_disk()"""
BREAKS = {
    "renamed": ("ALTER TABLE events RENAME TO gone", "ALTER TABLE gone RENAME TO events"),
    "disk full": (FAILS, "DROP TRIGGER full_disk ON events; DROP FUNCTION full_disk"),
}


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[EmbeddedPostgres]:
    """A second PostgreSQL, which tests may stop and kill."""
    with EmbeddedPostgres() as server:
        yield server


@pytest.fixture
def new_fleet(elsewhere: EmbeddedPostgres, tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Make fleets of three topics, one of them in the other PostgreSQL."""
    with ExitStack() as stack:

        def make(servers: Servers, partitions: Sequence[int] = PARTITIONS, **environment: str) -> Fleet:
            elsewhere.start()
            kafka, topics = Kafka(servers.bootstrap_servers), []
            for number, count in enumerate(partitions):
                url = elsewhere.url if number == ELSEWHERE else servers.postgres_url
                database = stack.enter_context(Postgres(url).new_schema())
                topics.append(System(kafka, database, tmp_path, count))
            stack.callback(elsewhere.start)
            fleet = Fleet(tmp_path, topics, environment)
            stack.callback(fleet.stop)
            return fleet

        yield make


@pytest.fixture
def fleet(new_fleet: Callable[..., Fleet], servers: Servers) -> Fleet:
    return new_fleet(servers)


@pytest.mark.parametrize("strikes", [4, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_kills_of_everything_lose_and_double_nothing_in_any_topic(
    own_servers: Servers, elsewhere: EmbeddedPostgres, new_fleet: Callable[..., Fleet], strikes: int
) -> None:
    assert own_servers.kafka
    assert own_servers.postgres
    fleet = new_fleet(own_servers)
    parts = {"Kafka": own_servers.kafka, "PostgreSQL": own_servers.postgres, "the other PostgreSQL": elsewhere}
    workers = [fleet.start_worker() for _ in range(2)]
    traffic = EqualIds(fleet.topics)
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    with traffic.flowing():
        go_on(*fleet.topics, events=20)
        for strike in range(strikes):
            victim = ["worker", *parts][strike] if strike < 4 else dice.choice(["worker", "worker", *parts])
            if victim == "worker":
                index = dice.randrange(2)
                workers[index].process.kill()
                workers[index] = fleet.start_worker()
            else:
                kill(parts[victim], dice.uniform(0, 2))
            go_on(*fleet.topics, events=20, timeout_s=90)
    for topic in fleet.topics:
        reckon(topic, traffic.acknowledged[topic.topic])
        topic.cli("audit", "--deep")
    assert all(worker.process.exit_code is None for worker in workers)


def kill(server: EmbeddedService, outage_s: float) -> None:
    server.kill()
    wait_s(outage_s)
    server.start()


@pytest.mark.parametrize("how", ["disk full", pytest.param("renamed", marks=pytest.mark.long)])
def test_a_broken_table_pauses_the_partitions_of_its_topic_only(fleet: Fleet, how: str) -> None:
    one, broken, eight = fleet.topics
    breaks, repairs = BREAKS[how]
    worker, traffic = fleet.start_worker(), EqualIds(fleet.topics)
    with traffic.flowing():
        go_on(*fleet.topics)
        broken.database.execute(breaks)
        eventually(lambda: worker.metric("keepstream_paused_partitions") == 4, 30, "its partitions are paused")
        settled = broken.settled_count()
        says_only(fleet, worker, broken)
        go_on(one, eight, events=300)
        assert broken.settled_count() == settled
        broken.database.execute(repairs)
        go_on(broken)
        eventually(lambda: worker.get("/readyz")[0] == 200, 30, "the worker is ready again")
    for topic in fleet.topics:
        reckon(topic, traffic.acknowledged[topic.topic])
    assert worker.process.exit_code is None


@pytest.mark.long
def test_a_topic_whose_table_is_missing_at_the_start_keeps_no_other_from_starting(fleet: Fleet) -> None:
    one, broken, eight = fleet.topics
    traffic = EqualIds(fleet.topics)
    broken.database.execute("ALTER TABLE stream_offsets RENAME TO gone")
    worker = fleet.start_worker()
    with traffic.flowing():
        go_on(one, eight)
        says_only(fleet, worker, broken)
        broken.database.execute("ALTER TABLE gone RENAME TO stream_offsets")
        go_on(*fleet.topics)
    for topic in fleet.topics:
        reckon(topic, traffic.acknowledged[topic.topic])


@pytest.mark.long
def test_a_database_that_is_away_pauses_its_topic_only_also_through_rebalances(
    fleet: Fleet, elsewhere: EmbeddedPostgres
) -> None:
    one, away, eight = fleet.topics
    first, traffic = fleet.start_worker(), EqualIds(fleet.topics)
    with traffic.flowing():
        go_on(*fleet.topics)
        elsewhere.kill()
        says_only(fleet, first, away)
        go_on(one, eight, events=300)
        second = fleet.start_worker()
        shared(first, second, starting=2)
        go_on(one, eight, events=300)
        for worker in (first, second):
            says_only(fleet, worker, away)
            assert worker.get("/livez")[0] == 200
        assert second.process.stop() == 0
        go_on(one, eight, events=300)
        elsewhere.start()
        go_on(*fleet.topics)
        eventually(lambda: first.get("/readyz")[0] == 200, 30, "the worker is ready again")
    for topic in fleet.topics:
        reckon(topic, traffic.acknowledged[topic.topic])
    assert first.process.exit_code is None


def test_a_database_that_is_away_at_the_start_keeps_no_other_topic_from_starting(
    fleet: Fleet, elsewhere: EmbeddedPostgres
) -> None:
    one, away, eight = fleet.topics
    traffic = EqualIds(fleet.topics)
    elsewhere.kill()
    first = fleet.start_worker()
    with traffic.flowing():
        go_on(one, eight)
        says_only(fleet, first, away)
        paused = f'keepstream_paused_partitions{{topic="{away.topic}"}}'
        eventually(lambda: first.metric(paused) == 4, 30, "an alert fires")
        second = fleet.start_worker()
        shared(first, second, starting=2)
        go_on(one, eight)
        first.process.kill()
        go_on(one, eight)
        says_only(fleet, second, away)
        elsewhere.start()
        go_on(*fleet.topics)
        eventually(lambda: second.get("/readyz")[0] == 200, 30, "the worker is ready")
        eventually(lambda: second.metric("keepstream_paused_partitions") == 0, 10, "the alert clears")
    for topic in fleet.topics:
        reckon(topic, traffic.acknowledged[topic.topic])
    assert second.process.exit_code is None


@pytest.mark.long
def test_a_topic_that_does_not_exist_keeps_no_other_from_starting_and_is_found_once_it_does(fleet: Fleet) -> None:
    one, missing, eight = fleet.topics
    delete_topic(missing.kafka, missing.topic)
    traffic = EqualIds((one, eight))
    worker = fleet.start_worker()
    with traffic.flowing():
        go_on(one, eight)
        says_only(fleet, worker, missing)
        missing.kafka.create_topic(missing.topic, 4)
        late = EqualIds((missing,))
        late.send(100)
        reckon(missing, late.acknowledged[missing.topic])
        go_on(one, eight)
        delete_topic(missing.kafka, missing.topic)
        says_only(fleet, worker, missing)
        go_on(one, eight, events=300)
    for topic in (one, eight):
        reckon(topic, traffic.acknowledged[topic.topic])
    assert worker.process.exit_code is None


def says_only(fleet: Fleet, worker: Worker, topic: System) -> None:
    """Wait until /readyz is false and names this topic, and no other."""

    def says() -> bool:
        status, why = worker.get("/readyz")
        return status == 503 and [each for each in fleet.topics if each.topic in why] == [topic]

    try:
        eventually(says, 30, f"/readyz names {topic.topic} only")
    except AssertionError as error:
        error.add_note(worker.get("/readyz")[1])
        raise


def shared(first: Worker, second: Worker, starting: int) -> None:
    """Wait until two workers have their share of 13 partitions, of which each waits for so many to start."""
    shares = {6 - starting, 7 - starting}
    eventually(lambda: {assigned(first), assigned(second)} == shares, 60, "the partitions are shared")


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
@pytest.mark.long
def test_topics_are_added_and_removed_by_restarting_one_worker_after_the_other(fleet: Fleet, *, static: bool) -> None:
    """From one topic by plain settings to three, to two, and back to three; old and new workers are in one group."""
    one, four, eight = fleet.topics
    seats = [seat(f"{fleet.group_id}-{number}") if static else {} for number in range(2)]
    workers = [four.start_worker(**settings) for settings in seats]
    fleet.workers += workers
    traffic = EqualIds(fleet.topics)
    with traffic.flowing():
        go_on(four)
        for topics in (fleet.topics, (four, eight), fleet.topics):
            for number, settings in enumerate(seats):
                assert workers[number].process.stop() == 0
                workers[number] = fleet.start_worker(topics, **settings)
                go_on(four)
            go_on(*topics)
            eventually(lambda: all(worker.get("/readyz")[0] == 200 for worker in workers), 60, "both are ready")
    for topic in (one, four, eight):
        reckon(topic, traffic.acknowledged[topic.topic])
    assert all(worker.process.exit_code is None for worker in workers)


def seat(name: str) -> dict[str, str]:
    """Return the settings of a static member, which comes back before the group has missed it."""
    return {
        "KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID": name, "KEEPSTREAM_KAFKA__LEAVE_ON_STOP": "false",
        "KEEPSTREAM_KAFKA__SESSION_TIMEOUT_S": "29",
    }  # fmt: skip


def test_topics_of_one_partition_are_shared_by_the_workers(new_fleet: Callable[..., Fleet], servers: Servers) -> None:
    fleet = new_fleet(servers, [1] * 10, KEEPSTREAM_POSTGRES__POOL_SIZE="1")
    traffic = EqualIds(fleet.topics)
    workers = [fleet.start_worker() for _ in range(2)]
    eventually(lambda: [assigned(worker) for worker in workers] == [5, 5], 60, "each has five")
    traffic.send(100)
    for topic in fleet.topics:
        reckon(topic, traffic.acknowledged[topic.topic])


def test_a_topic_that_is_new_in_the_tables_of_another_is_refused_and_the_others_are_settled(fleet: Fleet) -> None:
    one, refused, eight = fleet.topics
    refused.database.execute(
        "INSERT INTO stream_offsets (topic, partition, first_offset, next_offset) VALUES ('older', 0, 0, 9)"
    )
    traffic = EqualIds(fleet.topics)
    worker = fleet.start_worker()
    traffic.send(200)
    for topic in (one, eight):
        reckon(topic, traffic.acknowledged[topic.topic])
    says_only(fleet, worker, refused)
    assert "events of the topic older" in worker.get("/readyz")[1]
    stays(lambda: worker.process.exit_code is None and worker.get("/livez")[0] == 200, 3, "the worker has ended")
    assert refused.database.value("SELECT count(*) FROM stream_offsets") == 1
    refused.database.execute("DELETE FROM stream_offsets WHERE topic = 'older'")
    reckon(refused, traffic.acknowledged[refused.topic])
    eventually(lambda: worker.get("/readyz")[0] == 200, 30, "the worker is ready")
