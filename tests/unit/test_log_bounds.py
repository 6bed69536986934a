"""The bounds of a log beside the id of its topic: a topic may be re-created between any two requests."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition

from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.worker.consumer_thread import ConsumerThread

TP = TopicPartition("events", 0)


@dataclass
class Cluster:
    """Holds the topic "old" with offsets from 100 on; after so many requests a topic "new" from 0 on has its name."""

    recreated_after: int
    requests: int = 0

    def _is_new(self) -> bool:
        self.requests += 1
        return self.requests > self.recreated_after

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0 if self._is_new() else 100)

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 500 if self._is_new() else 200)

    async def fetch_committed_offsets(self, _tps: Sequence[TopicPartition]) -> dict[TopicPartition, Any]:
        self._is_new()
        return {}

    def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        return dict.fromkeys(topics, "new" if self._is_new() else "old")


@pytest.mark.parametrize("recreated_after", range(5))
async def test_bounds_beside_the_id_of_a_topic_are_not_those_of_the_topic_before(
    monkeypatch: pytest.MonkeyPatch, recreated_after: int
) -> None:
    """A worker that starts the new topic at the start of the old one skips what is before; nothing would tell it."""
    cluster = Cluster(recreated_after)
    consumer = SimpleNamespace(
        beginning_offsets=cluster.beginning_offsets, end_offsets=cluster.end_offsets, _coordinator=cluster
    )
    thread = ConsumerThread.__new__(ConsumerThread)
    thread.settings, thread.__dict__["_admin"] = KafkaSettings(), cluster
    monkeypatch.setattr(thread, "_ensure_consumer", lambda: consumer)
    bounds = await thread._log_bounds_in_thread([TP])
    assert (bounds.topic_ids, bounds.starts[TP]) != ({"events": "new"}, 100)
    assert (bounds.topic_ids == {"events": "new"}) == (recreated_after == 0)
