"""How a reader handles the errors among its messages."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException, Message

from keepstream.sinks.kafka.range_reader import is_end_of_partition, without_group_errors

GROUP = KafkaError.GROUP_AUTHORIZATION_FAILED
END = KafkaError._PARTITION_EOF


def message(code: int | None) -> Message:
    return Message(topic="events", partition=0, offset=5, error=None if code is None else KafkaError(code))


@pytest.mark.parametrize(
    ("codes", "ends"),
    [([None], [False]), ([None, END], [False, True]), ([GROUP], []), ([None, GROUP], [False]), ([GROUP, END], [True])],
)
def test_a_reader_that_joins_no_group_needs_no_right_on_one(codes: list[int | None], ends: list[bool]) -> None:
    messages = without_group_errors([message(code) for code in codes])
    assert [is_end_of_partition(one) for one in messages] == ends


def test_any_other_error_ends_the_reading() -> None:
    (denied,) = without_group_errors([message(KafkaError.TOPIC_AUTHORIZATION_FAILED)])
    with pytest.raises(KafkaException):
        is_end_of_partition(denied)
