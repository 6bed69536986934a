"""How far a partition's log reaches, asked from another thread than the one that gains and loses partitions."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import TopicPartition

from keepstream.app.worker.consumer_thread import ConsumerThread

OURS, LOST = TopicPartition("events", 0), TopicPartition("events", 1)


async def test_a_partition_that_was_just_lost_has_no_end_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = AIOKafkaConsumer.__new__(AIOKafkaConsumer)
    consumer._subscription = SubscriptionState()
    thread = ConsumerThread.__new__(ConsumerThread)
    monkeypatch.setattr(thread, "_ensure_consumer", lambda: consumer)
    assert thread.end_offset(OURS) is None, "before the first assignment"
    consumer._subscription.assign_from_user([OURS])
    assert thread.end_offset(LOST) is None
    assert thread.end_offset(OURS) is None, "before the first fetch"
    state = consumer._subscription.subscription.assignment.state_value(OURS)
    state.lso = 7
    assert thread.end_offset(OURS) == 7
