"""The servers as containers: images and environment are those of docker-compose.yml, and stand nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import yaml
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from keepstream.app.embedded.service import LOOPBACK, free_port
from tests.real import Servers, eventually

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

COMPOSE_FILE = Path(__file__).resolve().parents[1] / "docker-compose.yml"
START_TIMEOUT_S = 120.0


class DockerUnavailableError(Exception):
    """Docker was asked for, and starts nothing."""


@dataclass(frozen=True)
class Plan:
    """One container: ``port`` is the container's, ``host_port`` ours, on loopback."""

    image: str
    environment: Mapping[str, str]
    port: int
    host_port: int


def kafka_plan(host_port: int) -> Plan:
    """Return the broker of the compose file, which tells its clients our port and finds itself without a network."""
    image, environment = _service("kafka")
    advertised = environment["KAFKA_ADVERTISED_LISTENERS"].replace(f"{LOOPBACK}:9092", f"{LOOPBACK}:{host_port}")
    changed = environment | {"KAFKA_ADVERTISED_LISTENERS": advertised}
    alone = {name: re.sub(r"\bkafka:(\d)", r"localhost:\1", value) for name, value in changed.items()}
    return Plan(image, alone, 9092, host_port)


def postgres_plan(host_port: int) -> Plan:
    return Plan(*_service("postgres"), 5432, host_port)


def postgres_url(plan: Plan) -> str:
    given = plan.environment
    user = f"{given['POSTGRES_USER']}:{given['POSTGRES_PASSWORD']}"
    return f"postgresql://{user}@{LOOPBACK}:{plan.host_port}/{given['POSTGRES_DB']}"


def _service(name: str) -> tuple[str, dict[str, str]]:
    """Return image and environment, with the compose file's own defaults where it refers to variables."""
    service: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))["services"][name]
    environment = {key: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for key, value in service["environment"].items()}
    return service["image"], environment


@contextmanager
def container_servers(bootstrap_servers: str | None, postgres: str | None) -> Iterator[Servers]:
    """Start what no address is given for; given addresses win. Raises DockerUnavailableError before the block."""
    with ExitStack() as started:
        if bootstrap_servers is None:
            plan = kafka_plan(free_port())
            started.enter_context(_container(plan))
            bootstrap_servers = f"{LOOPBACK}:{plan.host_port}"
        if postgres is None:
            plan = postgres_plan(free_port())
            started.enter_context(_container(plan))
            postgres = postgres_url(plan)
        eventually(lambda: _kafka_answers(bootstrap_servers), START_TIMEOUT_S, "Kafka's container answers")
        eventually(lambda: _postgres_answers(postgres), START_TIMEOUT_S, "PostgreSQL's container answers")
        yield Servers(bootstrap_servers, postgres, None, None)


@contextmanager
def _container(plan: Plan) -> Iterator[DockerContainer]:
    from docker.errors import DockerException  # type: ignore[import-untyped]
    from testcontainers.core.container import DockerContainer

    try:
        container = DockerContainer(plan.image).with_envs(**plan.environment)
        container.ports[str(plan.port)] = (LOOPBACK, plan.host_port)  # type: ignore[assignment] # docker takes pairs
        container.start()
    except DockerException as error:
        raise DockerUnavailableError(f"KEEPSTREAM_TEST_SERVERS=docker, but Docker starts none: {error}") from error
    try:
        yield container
    finally:
        container.stop()


def _kafka_answers(bootstrap_servers: str) -> bool:
    try:
        return bool(
            AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0}).list_topics(timeout=2).brokers
        )
    except KafkaException:
        return False


def _postgres_answers(url: str) -> bool:
    """The image's first start serves its own socket only, then restarts: TCP means that it is done."""
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
