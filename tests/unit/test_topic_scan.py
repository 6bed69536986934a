"""What a scan makes of the errors among its messages."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException, Message

from keepstream.sinks.kafka.topic_scan import _ended

GROUP = KafkaError.GROUP_AUTHORIZATION_FAILED
END = KafkaError._PARTITION_EOF


def message(code: int | None) -> Message:
    return Message(topic="events", partition=0, offset=5, error=None if code is None else KafkaError(code))


@pytest.mark.parametrize(
    ("codes", "ended"),
    [([None], False), ([None, END], True), ([GROUP], False), ([None, GROUP], False), ([GROUP, END], True)],
)
def test_no_right_on_a_group_is_needed_by_who_joins_none(codes: list[int | None], ended: bool) -> None:
    assert _ended([message(code) for code in codes]) is ended


def test_any_other_error_ends_the_reading() -> None:
    with pytest.raises(KafkaException):
        _ended([message(None), message(KafkaError.TOPIC_AUTHORIZATION_FAILED)])
