"""What `doctor` does with a broker that will not tell it everything."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from keepstream.app.cli.doctor import _DEAD_LETTER_RISKS, _configuration


@pytest.mark.parametrize(
    ("answer", "warnings"),
    [
        ({}, 0),
        ({"unclean.leader.election.enable": "true"}, 1),
        ({"message.timestamp.type": "CreateTime"}, 1),
        ({"message.timestamp.type": "LogAppendTime"}, 0),
        (KafkaException(KafkaError(KafkaError._TIMED_OUT)), 0),
    ],
    ids=["no such setting", "it may lose what it acknowledged", "workers date", "the broker dates", "no answer"],
)
def test_a_setting_that_cannot_be_read_is_no_warning(answer: dict[str, str] | Exception, warnings: int) -> None:
    class Admin:
        def topic_config(self, _topic: str) -> dict[str, str]:
            if isinstance(answer, Exception):
                raise answer
            return answer

    assert len(list(_configuration(cast("Any", Admin()), "events", _DEAD_LETTER_RISKS))) == warnings
