"""Fixtures shared by all suites. They stay thin; what they start is in `tests.real`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import TypeVar

import pytest
from hypothesis import settings

from tests import postgres_versions
from tests.real import Database, Kafka, Postgres, Servers, start_servers

T = TypeVar("T")

# How long an example takes says something about the machine, not about the code.
settings.register_profile("keepstream", deadline=None)
settings.load_profile("keepstream")


def given_or_skip(started: T | str) -> T:
    """Skip with the reason where real parts cannot be had; fail where that would hide that nothing was tested."""
    if not isinstance(started, str):
        return started
    if os.environ.get("CI"):
        pytest.fail(f"CI must not skip the real parts: {started}")
    pytest.skip(started)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A real Kafka broker and a real PostgreSQL server: given by URL, else embedded, else skip with the reason."""
    with start_servers() as started:
        yield given_or_skip(started)


@pytest.fixture
def kafka(servers: Servers) -> Kafka:
    """Make topics of your own on the session's broker."""
    return Kafka(servers.bootstrap_servers)


@pytest.fixture
def database(servers: Servers) -> Iterator[Database]:
    """A migrated schema of your own on the session's PostgreSQL."""
    with Postgres(servers.postgres_url).new_schema() as schema:
        yield schema


POSTGRES_NAMES = postgres_versions.names()


@pytest.fixture(scope="session")
def postgres_named(servers: Servers) -> Iterator[Callable[[str], Postgres]]:
    """Give each of `POSTGRES_NAMES`, started when first asked for."""
    with ExitStack() as stack:
        yield cache(lambda name: postgres_versions.start(name, servers, stack))


@pytest.fixture(params=POSTGRES_NAMES)
def each_postgres(request: pytest.FixtureRequest, postgres_named: Callable[[str], Postgres]) -> Postgres:
    """Run the test once per PostgreSQL at hand."""
    return postgres_named(request.param)


@pytest.fixture
def any_database(each_postgres: Postgres) -> Iterator[Database]:
    """Like `database`, once per PostgreSQL at hand."""
    with each_postgres.new_schema() as schema:
        yield schema
