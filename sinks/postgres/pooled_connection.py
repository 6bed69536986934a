"""Sessions whose settings hold through a pooler too: there, each transaction sets its own.

A pooler such as PgBouncer, in transaction mode, gives each transaction to a server's session that others use as well.
So behind one nothing is left in a session: no setting, no prepared statement, no lock. In session mode the same works.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Self

import psycopg
from psycopg import IsolationLevel, sql
from psycopg.pq import TransactionStatus

_BEGIN, _COMMIT = "BEGIN ISOLATION LEVEL READ COMMITTED", "COMMIT"
_SET = "SELECT set_config(name, value, {}) FROM unnest(%(names)s::text[], %(values)s::text[]) AS pinned(name, value)"
_SET_LOCAL, _SET_SESSION = (sql.SQL(_SET).format(sql.Literal(is_local)) for is_local in (True, False))
_OPTION = re.compile(r"(?:-c\s*|--)search[_-]path=((?:\\.|[^\s\\])*)")
DEFAULT_PATH = "SELECT reset_val FROM pg_settings WHERE name = 'search_path'"
"""The search path of role and database, also in a session in which somebody has set another."""


def search_path_of(options: str) -> str | None:
    """Return the search path that ``options`` of a URL or ``PGOPTIONS`` set: a pooler may drop them."""
    found = _OPTION.findall(options)
    return re.sub(r"\\(.)", r"\1", found[-1]) if found else None


def parameters_of(settings: Mapping[str, str]) -> dict[str, list[str]]:
    """Return settings as two arrays."""
    return {"names": [*settings], "values": [*settings.values()]}


class PooledCursor(psycopg.Cursor[tuple[Any, ...]]):
    """A cursor whose statement, outside a transaction, gets a transaction of its own, in one round trip."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:  # noqa: ANN401
        connection = self.connection
        if not isinstance(connection, SessionConnection) or not _is_idle(connection):
            return super().execute(query, params, **options)
        with _round_trip(connection):
            around = psycopg.Cursor(connection)
            around.execute(_BEGIN)
            around.execute(_SET_LOCAL, parameters_of(connection.pooled or {}))
            super().execute(query, params, **options)
            around.execute(_COMMIT)
        return self


class AsyncPooledCursor(psycopg.AsyncCursor[tuple[Any, ...]]):
    """A cursor whose statement, outside a transaction, gets a transaction of its own, in one round trip."""

    async def execute(self, query: Any, params: Any = None, **options: Any) -> Self:  # noqa: ANN401
        connection = self.connection
        if not isinstance(connection, AsyncSessionConnection) or not _is_idle(connection):
            return await super().execute(query, params, **options)
        async with _async_round_trip(connection):
            around = psycopg.AsyncCursor(connection)
            await around.execute(_BEGIN)
            await around.execute(_SET_LOCAL, parameters_of(connection.pooled or {}))
            await super().execute(query, params, **options)
            await around.execute(_COMMIT)
        return self


@contextmanager
def _round_trip(connection: SessionConnection) -> Iterator[None]:
    """Send the statements of the block together. An error rolls back and is raised once, as the first one was."""
    failed: psycopg.Error | None = None
    try:
        with connection.pipeline():
            try:
                yield
            except psycopg.Error as error:  # leaving the pipeline raises another, which psycopg would log
                failed = error
    except psycopg.Error as error:
        failed = failed or _first(error)
    if failed:
        with suppress(psycopg.Error):
            connection.rollback()
        raise failed


@asynccontextmanager
async def _async_round_trip(connection: AsyncSessionConnection) -> AsyncIterator[None]:
    """Send the statements of the block together. An error rolls back and is raised once, as the first one was."""
    failed: psycopg.Error | None = None
    try:
        async with connection.pipeline():
            try:
                yield
            except psycopg.Error as error:
                failed = error
    except psycopg.Error as error:
        failed = failed or _first(error)
    if failed:
        with suppress(psycopg.Error):
            await connection.rollback()
        raise failed


def _first(error: psycopg.Error) -> psycopg.Error:
    """Return what the server said: a pipeline whose connection is lost raises that it cannot be left instead."""
    before = error.__context__
    return before if error.sqlstate is None and isinstance(before, psycopg.Error) and before.sqlstate else error


class SessionConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection in autocommit. ``pooled``: the settings of each transaction, None where the session keeps them."""

    pooled: dict[str, str] | None = None

    def use_pooled(self, settings: Mapping[str, str]) -> None:
        """Leave nothing in the session from now on."""
        self.pooled, self.prepare_threshold = {**settings}, None
        self.cursor_factory, self.isolation_level = PooledCursor, IsolationLevel.READ_COMMITTED

    @contextmanager
    def transaction(self, savepoint_name: str | None = None, force_rollback: bool = False) -> Iterator[Any]:
        is_outer = _is_idle(self)
        with super().transaction(savepoint_name, force_rollback) as transaction:
            if self.pooled and is_outer:
                self.execute(_SET_LOCAL, parameters_of(self.pooled))
            yield transaction


class AsyncSessionConnection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """A connection in autocommit. ``pooled``: the settings of each transaction, None where the session keeps them."""

    pooled: dict[str, str] | None = None

    async def use_pooled(self, settings: Mapping[str, str]) -> None:
        """Leave nothing in the session from now on."""
        self.pooled, self.prepare_threshold = {**settings}, None
        self.cursor_factory = AsyncPooledCursor
        await self.set_isolation_level(IsolationLevel.READ_COMMITTED)

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[Any]:  # fmt: skip
        is_outer = _is_idle(self)
        async with super().transaction(savepoint_name, force_rollback) as transaction:
            if self.pooled and is_outer:
                await self.execute(_SET_LOCAL, parameters_of(self.pooled))
            yield transaction


def set_more(connection: psycopg.Connection[tuple[Any, ...]], settings: Mapping[str, str]) -> None:
    """Add settings to those of a connection."""
    if isinstance(connection, SessionConnection) and connection.pooled is not None:
        connection.pooled |= settings
    else:
        connection.execute(_SET_SESSION, parameters_of(settings))


def _is_idle(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    return connection.info.transaction_status == TransactionStatus.IDLE
