"""What `doctor` does with a broker that will not tell it everything."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from keepstream.app.cli.doctor import _elections


@pytest.mark.parametrize(
    ("answer", "warnings"),
    [({}, 0), ({"unclean.leader.election.enable": "true"}, 1), (KafkaException(KafkaError(KafkaError._TIMED_OUT)), 0)],
    ids=["no such setting", "it may lose what it acknowledged", "no answer"],
)
def test_a_setting_that_cannot_be_read_is_no_warning(answer: dict[str, str] | Exception, warnings: int) -> None:
    class Admin:
        def topic_config(self, _topic: str) -> dict[str, str]:
            if isinstance(answer, Exception):
                raise answer
            return answer

    assert len(list(_elections(cast("Any", Admin()), "events"))) == warnings
