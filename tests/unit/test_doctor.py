"""What `doctor` does with servers that tell it little or nothing."""

from __future__ import annotations

import socket
import time
from typing import Any, cast

import faust
import pytest
from confluent_kafka import KafkaError, KafkaException
from pydantic import SecretStr

from keepstream.app.cli.doctor import _DEAD_LETTER_RISKS, _configuration, _faust, examine
from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.config.postgres import PostgresSettings
from keepstream.app.config.settings import Settings
from keepstream.app.connect.services import Services


@pytest.mark.parametrize(
    ("answer", "warnings"),
    [
        ({}, 0),
        ({"unclean.leader.election.enable": "true"}, 1),
        ({"message.timestamp.type": "CreateTime"}, 1),
        ({"message.timestamp.type": "LogAppendTime"}, 0),
        ({"cleanup.policy": "compact,delete"}, 1),
        ({"retention.ms": "604800000", "retention.bytes": "1048576"}, 2),
        ({"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}, 0),
        (KafkaException(KafkaError(KafkaError._TIMED_OUT)), 0),
    ],
    ids=[
        "no such setting",
        "it may lose what it acknowledged",
        "workers date",
        "the broker dates",
        "compacted",
        "deleted by age and size",
        "kept",
        "no answer",
    ],
)
def test_a_setting_that_cannot_be_read_is_no_warning(answer: dict[str, str] | Exception, warnings: int) -> None:
    class Admin:
        def topic_config(self, _topic: str) -> dict[str, str]:
            if isinstance(answer, Exception):
                raise answer
            return answer

    assert len(list(_configuration(cast("Any", Admin()), "events", _DEAD_LETTER_RISKS))) == warnings


def test_servers_that_do_not_answer_are_named_within_3_s_and_the_rest_before() -> None:
    with socket.create_server(("127.0.0.1", 0)) as accepts_and_says_nothing:
        address = f"127.0.0.1:{accepts_and_says_nothing.getsockname()[1]}"
        services = Services(Settings(
            _env_file=None, kafka=KafkaSettings(bootstrap_servers=address),
            postgres=PostgresSettings(url=SecretStr(f"postgresql://{address}/d")),
        ))  # fmt: skip
        started = time.monotonic()
        findings = examine(services)
        assert next(findings).check == "settings"
        assert time.monotonic() - started < 1.5
        failed = [(finding.check, address in finding.seen) for finding in findings if finding.state == "fail"]
        assert time.monotonic() - started < 3
    assert failed == [("kafka", True), ("postgres", True)]


def test_a_faust_without_its_extension_is_named_with_the_way_to_compile_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip installs it on ARM64 without a compiler."""
    monkeypatch.setattr("faust.streams._CStreamIterator", None)
    (found,) = _faust(cast("Any", None))
    assert found.state == "fail"
    assert f"--no-binary faust-streaming faust-streaming=={faust.__version__}" in found.fix
