"""The servers of the demo: given by URL, else embedded, else a mock broker beside a real PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from confluent_kafka import Producer

from keepstream.app.config.settings import Settings
from keepstream.app.embedded.errors import EmbeddedUnavailableError
from keepstream.app.embedded.services import embedded_services

_POSTGRES = {"track_commit_timestamp": "on"}
"""To measure latencies up to the commit."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Addresses of both servers. ``is_mock``: the broker is librdkafka's, which cannot create topics."""

    bootstrap_servers: str
    postgres_url: str
    is_mock: bool = False


@contextmanager
def backend(settings: Settings, notify: Callable[[str], None]) -> Iterator[Backend]:
    """Start the servers without a given address. Raises EmbeddedUnavailableError without PostgreSQL."""
    kafka = settings.kafka.bootstrap_servers if _given("KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS") else None
    postgres = settings.postgres.url.get_secret_value() if _given("KEEPSTREAM_POSTGRES__URL") else None
    with ExitStack() as stack:
        try:
            services = stack.enter_context(_services(kafka, postgres, notify))
        except EmbeddedUnavailableError as error:
            if kafka is not None or "Kafka" not in error.part:
                raise
            notify(f"{error.part} is not available ({error.reason.splitlines()[0]}); using a mock broker instead")
            kafka = stack.enter_context(_mock_broker())
            services = stack.enter_context(_services(kafka, postgres, notify))
            yield Backend(kafka, services.postgres_url, is_mock=True)
            return
        yield Backend(services.bootstrap_servers, services.postgres_url)


def _services(kafka: str | None, postgres: str | None, notify: Callable[[str], None]):  # type: ignore[no-untyped-def]  # noqa: ANN202
    return embedded_services(
        bootstrap_servers=kafka, postgres_url=postgres, postgres_settings=_POSTGRES, progress=notify
    )


@contextmanager
def _mock_broker() -> Iterator[str]:
    """Start librdkafka's mock cluster, which runs inside this client on a loopback port."""
    owner = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    brokers = owner.list_topics(timeout=10).brokers
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values())


def _given(variable: str) -> bool:
    return bool(os.environ.get(variable))
