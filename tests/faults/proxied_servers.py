"""Servers of the suite's own behind proxies: the worker goes through them, the tests look past them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from keepstream.app.embedded import EmbeddedUnavailableError
from keepstream.app.embedded.kafka import EmbeddedKafka
from keepstream.app.embedded.postgres import EmbeddedPostgres
from keepstream.app.embedded.service import LOOPBACK, free_port
from tests.faults.proxy import Proxy


@dataclass(frozen=True, slots=True)
class Rig:
    """A broker and a database, each with a way in that can be made ill."""

    kafka: EmbeddedKafka
    postgres: EmbeddedPostgres
    kafka_link: Proxy
    postgres_link: Proxy

    def through_proxies(self) -> dict[str, str]:
        """Return the settings that send a worker through the proxies."""
        return {
            "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.kafka_link.address,
            "KEEPSTREAM_POSTGRES__URL": through(self.postgres.url, self.postgres.port, self.postgres_link),
        }

    def restore(self) -> None:
        """Heal the links, and start what a test has left dead."""
        self.kafka_link.heal()
        self.postgres_link.heal()
        self.kafka.start()
        self.postgres.start()


def through(url: str, port: int, link: Proxy) -> str:
    """Return a server's URL with the proxy's port in the place of its own."""
    return url.replace(f"{LOOPBACK}:{port}/", f"{link.address}/")


def proxied_kafka(link_port: int, server_port: int) -> EmbeddedKafka:
    """Build a broker with a second listener, whose clients are told to come through the proxy."""
    direct, controller = free_port(), free_port()
    own = f"PLAINTEXT://{LOOPBACK}:{direct},CONTROLLER://{LOOPBACK}:{controller}"
    return EmbeddedKafka(
        port=direct,
        overrides={
            "listeners": f"{own},PROXIED://{LOOPBACK}:{server_port}",
            "advertised.listeners": f"{own},PROXIED://{LOOPBACK}:{link_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
            "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{controller}",
            # So that a test can forbid something; what no rule names is allowed.
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
        },
    )


@contextmanager
def start_rig() -> Iterator[Rig | str]:
    """Yield a rig, or the reason why there is none."""
    with ExitStack() as stack:
        try:
            kafka_port = free_port()
            kafka_link = stack.enter_context(Proxy(kafka_port))
            kafka, postgres = proxied_kafka(kafka_link.port, kafka_port), EmbeddedPostgres()
            for server in (kafka, postgres):
                stack.callback(server.stop)
                server.start()
        except EmbeddedUnavailableError as missing:
            yield str(missing)
            return
        postgres_link = stack.enter_context(Proxy(postgres.port))
        yield Rig(kafka, postgres, kafka_link, postgres_link)
