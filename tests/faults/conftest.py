"""A rig for the session, systems on it per test, and the report at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from keepstream.app.embedded.postgres import EmbeddedPostgres
from tests.acceptance.conftest import System
from tests.conftest import given_or_skip
from tests.faults.produced_ledger import LedgerProducer
from tests.faults.proxied_servers import Rig, start_rig
from tests.faults.report import ROWS, Row, table
from tests.real import Kafka, Postgres

MINUTES = float(os.environ.get("FAULT_MINUTES", "0.3"))
"""How long the random kills last."""


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """A broker and a database behind proxies; skip with the reason where there are none."""
    with start_rig() as started:
        yield given_or_skip(started)


@pytest.fixture
def new_system(rig: Rig, tmp_path: Path) -> Iterator[Callable[..., System]]:
    """Make systems whose workers go through the proxies; all is well again after the test."""
    with ExitStack() as stack:

        def make(partitions: int = 1, **environment: str) -> System:
            database = stack.enter_context(Postgres(rig.postgres.url).new_schema())
            stack.callback(rig.restore)
            settings = rig.through_proxies() | environment
            system = System(Kafka(rig.kafka.bootstrap_servers), database, tmp_path, partitions, settings)
            stack.callback(end, system)
            return system

        yield make


@pytest.fixture
def system_on(rig: Rig, tmp_path: Path) -> Iterator[Callable[[EmbeddedPostgres], System]]:
    """Make a system on a PostgreSQL of the test's own and on the rig's broker."""
    with ExitStack() as stack:

        def make(server: EmbeddedPostgres) -> System:
            stack.callback(server.stop)
            server.start()
            database = stack.enter_context(Postgres(server.url).new_schema())
            stack.callback(server.start)
            system = System(Kafka(rig.kafka.bootstrap_servers), database, tmp_path, partitions=2)
            stack.callback(system.stop)
            return system

        yield make


def end(system: System) -> None:
    """Stop the workers; what they said last is shown when the test has failed."""
    system.stop()
    for number, worker in enumerate(system.workers):
        print(f"--- worker {number}, exit code {worker.process.exit_code}\n{worker.process.log_end(12)}")


@pytest.fixture
def new_producer(tmp_path: Path) -> Iterator[Callable[..., LedgerProducer]]:
    """Make a producer with a ledger for a system. It goes past the proxies."""
    with ExitStack() as stack:

        def make(system: System, **options: Any) -> LedgerProducer:
            ledger = tmp_path / f"ledger-{len(list(tmp_path.glob('ledger-*')))}"
            producer = LedgerProducer(system.kafka.bootstrap_servers, system.topic, ledger, **options)
            stack.callback(producer.close)
            return producer

        yield make


@pytest.fixture(scope="session")
def outage_s() -> float:
    """How long a server stays away: 10 minutes with ``FAULT_OUTAGE_S=600``."""
    return float(os.environ.get("FAULT_OUTAGE_S", "60"))


@pytest.fixture
def row() -> Callable[[str], Row]:
    """Open a row of the report."""

    def make(fault: str) -> Row:
        ROWS.append(Row(fault))
        return ROWS[-1]

    return make


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the report."""
    if ROWS:
        terminalreporter.section("faults")
        for line in table(ROWS):
            terminalreporter.write_line(line)
