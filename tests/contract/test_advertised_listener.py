"""A broker that answers, and advertises an address at which nothing answers: the usual fault of a new cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from keepstream.app.cli import topics
from keepstream.app.cli.doctor import examine
from keepstream.app.cli.root import root
from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.config.settings import Settings
from keepstream.app.connect.services import Services
from keepstream.app.embedded.kafka import EmbeddedKafka
from keepstream.app.embedded.service import free_port
from keepstream.app.errors import UNREACHABLE, KeepstreamError
from keepstream.app.status import observer
from tests.real import Kafka

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def advertised() -> Iterator[tuple[str, str]]:
    """Yield the address of a listener and the one that it advertises; topics are made through another listener."""
    inner, (seen, silent, controller) = free_port(), (f"127.0.0.1:{free_port()}" for _ in range(3))
    listeners = {
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SEEN:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listeners": f"PLAINTEXT://127.0.0.1:{inner},SEEN://{seen},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{inner},SEEN://{silent}",
        "controller.quorum.bootstrap.servers": controller,
    }
    with EmbeddedKafka(port=inner, overrides=listeners) as broker:
        for topic in ("events", "event-dlq"):
            Kafka(broker.bootstrap_servers).create_topic(topic)
        yield seen, silent


@pytest.fixture
def services(advertised: tuple[str, str]) -> Services:
    servers = Services(Settings(_env_file=None, kafka=KafkaSettings(bootstrap_servers=advertised[0])))
    servers.kafka.timeout_s = 2.0  # a command waits for 10 s
    return servers


def test_a_broker_that_is_out_of_reach_is_named(
    services: Services, advertised: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = f"broker 1 does not answer at {advertised[1]}, which it advertises"
    monkeypatch.setattr(topics, "load_services_of_topics", lambda: services)
    done = CliRunner().invoke(root, ["topics", "status"])
    assert (done.exit_code, named in done.stderr) == (UNREACHABLE, True), done.stderr
    with pytest.raises(KeepstreamError, match=named) as error:
        observer.lag_rows(services)
    assert "advertised.listeners" in error.value.hint
    (failed,) = [finding for finding in examine(services) if (finding.check, finding.state) == ("kafka", "fail")]
    assert named in failed.seen
    assert "advertised.listeners" in failed.fix
