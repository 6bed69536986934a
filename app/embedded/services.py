"""Both servers for a command or a test session; a server with a given address is not started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from keepstream.app.embedded.kafka import EmbeddedKafka
from keepstream.app.embedded.kafka_jars import kafka_classpath
from keepstream.app.embedded.postgres import EmbeddedPostgres
from keepstream.app.embedded.service import EmbeddedService


@dataclass(frozen=True)
class EmbeddedServers:
    """Addresses to connect to. `kafka` and `postgres` are None where an address was given."""

    bootstrap_servers: str
    postgres_url: str
    kafka: EmbeddedKafka | None = None
    postgres: EmbeddedPostgres | None = None


@contextmanager
def embedded_services(
    *,
    bootstrap_servers: str | None = None,
    postgres_url: str | None = None,
    postgres_settings: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = lambda _line: None,
) -> Iterator[EmbeddedServers]:
    """Start the servers without a given address, and stop them at the end of the block.

    Raises EmbeddedUnavailableError when a server is not available.
    """
    kafka = None if bootstrap_servers else EmbeddedKafka(progress=progress)
    postgres = None if postgres_url else EmbeddedPostgres(settings=postgres_settings)
    if kafka:
        kafka_classpath(progress)  # in the caller's thread, so that Ctrl-C ends a download
    with ExitStack() as started:
        _start_all([service for service in (postgres, kafka) if service], started, progress)
        yield EmbeddedServers(
            bootstrap_servers or (kafka.bootstrap_servers if kafka else ""),
            postgres_url or (postgres.url if postgres else ""),
            kafka,
            postgres,
        )


def _start_all(services: list[EmbeddedService], started: ExitStack, progress: Callable[[str], None]) -> None:
    """Start the servers concurrently; `started` stops them in reverse order."""
    if not services:
        return
    progress(f"Starting {' and '.join(service.kind for service in services)}")
    # Also on Ctrl-C the pool is joined: only then it is known what has to be stopped.
    with ThreadPoolExecutor(len(services), thread_name_prefix="embedded-start") as pool:
        for service in services:
            started.callback(service.stop)
        for future in [pool.submit(service.start) for service in services]:
            future.result()
