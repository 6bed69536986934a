"""One of three brokers dies: the topic's leader, the group's coordinator, a replica that dead letters wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keepstream.app.embedded import EmbeddedUnavailableError
from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.faults.cluster import Cluster, ClusterNode, start_cluster
from tests.faults.produced_ledger import LedgerProducer, close, reckon, settled, stored_ids, wait_s, warmed_up
from tests.faults.proxied_servers import Rig
from tests.faults.report import Row
from tests.real import Postgres, eventually

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(400)]

OFFSETS_TOPIC = "__consumer_offsets"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    try:
        with start_cluster() as started:
            yield started
    except EmbeddedUnavailableError as missing:
        pytest.skip(str(missing))


def test_the_loss_of_leader_and_coordinator_is_survived(
    cluster: Cluster, rig: Rig, tmp_path: Path, new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    leader_row = row("kill -9 of the broker that leads the topic (1 of 3)")
    coordinator_row = row("kill -9 of the group coordinator (1 of 3)")
    with Postgres(rig.postgres.url).new_schema() as database:
        system = System(cluster, database, tmp_path, partitions=2)
        try:
            producer = new_producer(system)
            worker = system.start_worker()
            producer.send(200)
            system.settled(200)
            producer.start(events_per_s=200)
            for _ in range(2):
                lose(cluster, cluster.leader_of(system.topic), system, leader_row)
                lose(cluster, cluster.leader_of(OFFSETS_TOPIC), system, coordinator_row)
            producer.stop()
            found = reckon(system, producer)
            system.assert_consistent()
            assert worker.process.exit_code is None, worker.process.log_end()
            assert system.database.totals()["duplicate"] == 0
            leader_row.closes(found)
            coordinator_row.closes(found)
        finally:
            system.stop()


def test_a_dead_letter_topic_short_of_replicas_holds_and_resumes(
    cluster: Cluster, rig: Rig, tmp_path: Path, new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    short = row("dead letter topic short of in-sync replicas")
    with Postgres(rig.postgres.url).new_schema() as database:
        system = System(cluster, database, tmp_path)
        system.dlq_topic = cluster.new_topic(1, "event-dlq", DEAD_LETTER_TOPIC_CONFIG | {"min.insync.replicas": "3"})
        try:
            producer = new_producer(system)
            worker = system.start_worker()
            producer.send(200)
            system.settled(200)
            node = next(node for node in cluster.nodes if node is not cluster.leader_of(system.dlq_topic))
            node.kill()
            with short.active():
                producer.send(200)
                eventually(lambda: system.dlq_topic in worker.get("/readyz")[1], 60, "the partition is held")
                assert settled(system) < 400
            node.start()
            short.recovers(lambda: settled(system) == 400, 90)
            close(short, system, producer, worker)
        finally:
            system.stop()


def test_a_log_truncated_by_an_unclean_election_is_read_from_its_start(
    cluster: Cluster, rig: Rig, tmp_path: Path, new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    unclean = row("log truncated by an unclean election")
    with Postgres(rig.postgres.url).new_schema() as database:
        system = System(cluster, database, tmp_path)
        leader, follower, _ = cluster.nodes
        system.topic += "-unsafe"
        cluster.create_unsafe_topic(system.topic, [leader, follower])
        try:
            producer = new_producer(system, broken_every=10**9)
            warmed_up(system, producer)
            follower.kill()
            eventually(lambda: cluster.in_sync(system.topic) == 1, 60, "the follower is out of sync")
            producer.send(200)
            system.settled(400)
            leader.kill()
            with unclean.active():
                follower.start()
                eventually(lambda: cluster.leader_of(system.topic) is follower, 60, "an unclean leader")
            leader.start()
            later = new_producer(
                system, broken_every=10**9
            )  # the broker knows nothing any more of what the first one sent last
            later.send(100)
            unclean.recovers(lambda: settled(system) == 400 + 300, 90)
            found = reckon(system, later, earlier_records=400)
            system.assert_consistent()
            assert producer.acknowledged() <= stored_ids(system)
            unclean.closes(found)
        finally:
            system.stop()


def lose(cluster: Cluster, node: ClusterNode, system: System, row: Row) -> None:
    """Kill a node, see that the worker goes on without it, and bring it back."""
    node.kill()
    row.struck()
    wait_s(1)  # what was fetched before the kill is settled by then
    before = settled(system)
    row.recovers(lambda: settled(system) > before, 90)
    node.start()
    cluster.whole_again(system.topic, system.dlq_topic, OFFSETS_TOPIC)


def test_a_partition_without_a_leader_keeps_no_other_from_starting(
    cluster: Cluster, rig: Rig, tmp_path: Path, row: Callable[[str], Row]
) -> None:
    leaderless = row("one partition without a leader while the worker starts")
    with Postgres(rig.postgres.url).new_schema() as database:
        system = System(cluster, database, tmp_path)
        system.topic += "-spread"
        cluster.create_spread_topic(system.topic, cluster.nodes[:2])
        try:
            for partition in range(2):
                system.produce((make_value() for _ in range(10)), partition=partition)
            cluster.nodes[1].kill()
            leaderless.struck()
            worker = system.start_worker()
            leaderless.recovers(lambda: settled(system) == 10, 60)
            assert "partitions [1] have no leader" in worker.get("/readyz")[1]
            cluster.nodes[1].start()
            system.settled(20, 90)
            assert worker.process.exit_code is None
        finally:
            system.stop()
