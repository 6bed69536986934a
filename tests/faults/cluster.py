"""Three brokers that are controllers too: what one of them holds, two others hold as well."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from keepstream.app.embedded.kafka import SMALL_JVM, EmbeddedKafka
from keepstream.app.embedded.service import LOOPBACK, free_port
from tests.real import Kafka, eventually

NODES = 3


class ClusterNode(EmbeddedKafka):
    """One of three. It is formatted for a quorum of fixed voters, and must be started together with another."""

    def __init__(self, node_id: int, ports: Sequence[int], controller_ports: Sequence[int], cluster_id: str) -> None:
        self.node_id = node_id
        port, controller = ports[node_id - 1], controller_ports[node_id - 1]
        listeners = f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller}"
        voters = ",".join(f"{number}@{LOOPBACK}:{at}" for number, at in enumerate(controller_ports, 1))
        overrides = {
            "node.id": str(node_id),
            "listeners": listeners,
            "advertised.listeners": listeners,
            "controller.quorum.bootstrap.servers": "",
            "controller.quorum.voters": voters,
            "offsets.topic.replication.factor": "3",
            "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2",
            "min.insync.replicas": "2",
        }
        super().__init__(port=port, jvm_options=("-Xmx192m", *SMALL_JVM[1:]), overrides=overrides)
        self.format_options = (f"--cluster-id={cluster_id}",)


class Cluster(Kafka):
    """The three together; its topics have three replicas, of which two must confirm."""

    def __init__(self, nodes: Sequence[ClusterNode]) -> None:
        self.nodes = nodes
        super().__init__(",".join(node.bootstrap_servers for node in nodes))

    def create_topic(self, topic: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        new = NewTopic(topic, partitions, NODES, config=dict(config or {}))
        self._admin.create_topics([new])[topic].result(timeout=30)

    def create_unsafe_topic(self, topic: str, nodes: Sequence[ClusterNode]) -> None:
        """Create a topic of one partition on these nodes, of which any may lead, whatever it lacks."""
        config = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
        new = NewTopic(topic, 1, replica_assignment=[[node.node_id for node in nodes]], config=config)
        self._admin.create_topics([new])[topic].result(timeout=30)

    def create_spread_topic(self, topic: str, nodes: Sequence[ClusterNode]) -> None:
        """Create a topic with a partition on each of these nodes, and on no other."""
        new = NewTopic(topic, len(nodes), replica_assignment=[[node.node_id] for node in nodes],
                       config={"min.insync.replicas": "1"})  # fmt: skip
        self._admin.create_topics([new])[topic].result(timeout=30)

    def leader_of(self, topic: str) -> ClusterNode:
        """Return the node that leads the topic's first partition."""
        leader: int = self._partitions(topic)[0].leader
        return self.nodes[leader - 1]

    def in_sync(self, topic: str) -> int:
        """Return how many replicas of the topic's first partition are in sync."""
        return len(self._partitions(topic)[0].isrs)

    def whole_again(self, *topics: str, timeout_s: float = 90.0) -> None:
        """Wait until every partition has all its replicas in sync."""
        eventually(lambda: all(self._in_sync(topic) for topic in topics), timeout_s, "all replicas are in sync")

    def _in_sync(self, topic: str) -> bool:
        return all(len(partition.isrs) == NODES for partition in self._partitions(topic).values())

    def _partitions(self, topic: str) -> dict[int, Any]:
        for _ in range(4):  # who is asked may just have died
            with suppress(KafkaException):
                return self._admin.list_topics(topic, timeout=8).topics[topic].partitions
        return self._admin.list_topics(topic, timeout=8).topics[topic].partitions


@contextmanager
def start_cluster() -> Iterator[Cluster]:
    """Start three brokers. Raises EmbeddedUnavailableError when Kafka cannot be had."""
    ports, controller_ports = [[free_port() for _ in range(NODES)] for _ in range(2)]
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    nodes = [ClusterNode(number, ports, controller_ports, cluster_id) for number in range(1, NODES + 1)]
    try:
        with ThreadPoolExecutor(NODES) as pool:
            for started in [pool.submit(node.start) for node in nodes]:
                started.result()
        cluster = Cluster(nodes)
        eventually(
            lambda: (
                len(AdminClient({"bootstrap.servers": cluster.bootstrap_servers}).list_topics(timeout=10).brokers)
                == NODES
            ),
            30,
        )
        yield cluster
    finally:
        for node in nodes:
            node.kill()
            node.stop()
