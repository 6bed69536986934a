"""A topic that is re-created while the worker runs."""

from __future__ import annotations

import pytest

from keepstream.app.worker.start_offsets import RecreatedTopicMonitor
from keepstream.schemas.record import TopicPartition

P0, P1 = TopicPartition("events", 0), TopicPartition("events", 1)


@pytest.mark.parametrize(
    ("ids", "restarted"), [({"events": "a"}, []), ({"events": "b"}, [P0, P1]), ({}, [])],
    ids=["the same", "re-created", "the cluster does not say"],
)  # fmt: skip
async def test_only_partitions_of_a_recreated_topic_are_started_anew(
    ids: dict[str, str], restarted: list[TopicPartition]
) -> None:
    started: list[TopicPartition] = []
    monitor = RecreatedTopicMonitor(
        lambda: {P0: "a", P1: "a"}, lambda topics: {name: ids[name] for name in topics if name in ids}, started.extend
    )
    await monitor.check()
    assert started == restarted
