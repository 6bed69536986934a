"""Which servers the suites run on; containers are those of docker-compose.yml. None is started here."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests import containers, real
from tests.containers import COMPOSE_FILE, container_servers, kafka_plan, postgres_plan, postgres_url
from tests.real import Servers, start_servers, way_to_start

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))["services"]


def test_images_are_those_of_the_compose_file() -> None:
    assert kafka_plan(1).image == SERVICES["kafka"]["image"]
    assert postgres_plan(1).image == SERVICES["postgres"]["image"]


def test_the_broker_advertises_our_port_and_needs_no_network_of_composes() -> None:
    environment = kafka_plan(23_456).environment
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "INTERNAL://localhost:19092,EXTERNAL://127.0.0.1:23456"
    assert environment["KAFKA_CONTROLLER_QUORUM_VOTERS"] == "1@localhost:9093"
    assert not [value for value in environment.values() if "kafka:" in value]
    assert environment.keys() == SERVICES["kafka"]["environment"].keys()


def test_the_database_is_reached_with_the_defaults_of_the_compose_file() -> None:
    plan = postgres_plan(12_345)
    assert postgres_url(plan) == "postgresql://keepstream:keepstream@127.0.0.1:12345/keepstream"
    assert not [value for value in plan.environment.values() if "$" in value]


def test_docker_is_used_only_where_it_is_asked_for() -> None:
    assert way_to_start({"KEEPSTREAM_TEST_SERVERS": "docker"}) is container_servers
    assert way_to_start({}) is way_to_start({"KEEPSTREAM_TEST_SERVERS": "embedded"}) is real._embedded_servers
    with pytest.raises(ValueError, match="podman"):
        way_to_start({"KEEPSTREAM_TEST_SERVERS": "podman"})


def test_addresses_in_the_environment_win_over_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"KEEPSTREAM_TEST_SERVERS": "docker", "KEEPSTREAM_TEST_BOOTSTRAP_SERVERS": "k:1",
             "KEEPSTREAM_TEST_POSTGRES_URL": "postgresql://p:2/d"}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for name in ("_kafka_answers", "_postgres_answers"):
        monkeypatch.setattr(containers, name, lambda _address: True)
    monkeypatch.setattr(containers, "_container", lambda plan: pytest.fail(f"{plan.image} was started"))
    with start_servers() as servers:
        assert servers == Servers("k:1", "postgresql://p:2/d", None, None)


def test_a_docker_that_does_not_answer_is_the_reason_for_no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTREAM_TEST_SERVERS", "docker")
    monkeypatch.setenv("KEEPSTREAM_TEST_POSTGRES_URL", "postgresql://p:2/d")
    monkeypatch.delenv("KEEPSTREAM_TEST_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with start_servers() as servers:
        assert isinstance(servers, str)
        assert "Docker starts none" in servers
