"""Both servers for a command or a test session: whatever no address was given for is started here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from keepstream.app.embedded.kafka import EmbeddedKafka, no_progress
from keepstream.app.embedded.kafka_jars import kafka_classpath
from keepstream.app.embedded.postgres import EmbeddedPostgres
from keepstream.app.embedded.service import EmbeddedService


@dataclass(frozen=True)
class Services:
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
    progress: Callable[[str], None] = no_progress,
) -> Iterator[Services]:
    """Given addresses win. What was started is stopped at the end, however the block ends.

    Raises EmbeddedUnavailableError before the block when a part cannot be had.
    """
    kafka = None if bootstrap_servers else EmbeddedKafka(progress=progress)
    postgres = None if postgres_url else EmbeddedPostgres(settings=postgres_settings)
    if kafka:
        kafka_classpath(progress)  # here, in the caller's thread, so that Ctrl-C ends a download
    with ExitStack() as started:
        _start_all([service for service in (postgres, kafka) if service], started, progress)
        yield Services(
            bootstrap_servers or (kafka.bootstrap_servers if kafka else ""),
            postgres_url or (postgres.url if postgres else ""),
            kafka,
            postgres,
        )


def _start_all(services: list[EmbeddedService], started: ExitStack, progress: Callable[[str], None]) -> None:
    """Start them at the same time; `started` stops them in reverse order."""
    if not services:
        return
    progress(f"Starting {' and '.join(service.kind for service in services)}")
    # Also on Ctrl-C the pool's end is waited for: only then is it known what there is to stop.
    with ThreadPoolExecutor(len(services), thread_name_prefix="embedded-start") as pool:
        for service in services:
            started.callback(service.stop)
        for future in [pool.submit(service.start) for service in services]:
            future.result()
