"""A topic that is re-created while the worker runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from keepstream.app.worker.start_offsets import RecreatedTopicMonitor
from keepstream.schemas.record import TopicPartition

P0, P1 = TopicPartition("events", 0), TopicPartition("events", 1)


@dataclass
class Worker:
    """Partitions that were started with these ids."""

    topic_ids: dict[TopicPartition, str]
    restarted: list[TopicPartition] = field(default_factory=list)

    def start(self, tps: Iterable[TopicPartition]) -> None:
        self.restarted += tps


@pytest.mark.parametrize(
    ("ids", "restarted"), [({"events": "a"}, []), ({"events": "b"}, [P0, P1]), ({}, [])],
    ids=["the same", "re-created", "the cluster does not say"],
)  # fmt: skip
async def test_only_partitions_of_a_recreated_topic_are_started_anew(
    ids: dict[str, str], restarted: list[TopicPartition]
) -> None:
    worker = Worker({P0: "a", P1: "a"})
    await RecreatedTopicMonitor(worker, lambda topics: {topic: ids[topic] for topic in topics if topic in ids}).check()
    assert worker.restarted == restarted
