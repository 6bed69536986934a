"""The settings of every session, and the check that a server can hold keepstream's tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg

from keepstream.sinks.postgres.pooled_connection import (
    DEFAULT_PATH,
    AsyncSessionConnection,
    SessionConnection,
    parameters_of,
    search_path_of,
)
from keepstream.sinks.postgres.statements import statement

CLIENT_ENCODING = "utf8"
"""A libpq parameter of every connection: it overrides ``PGCLIENTENCODING``, the URL, the role and the database."""
_PIN = statement("pin_session")
_INHERITED = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",
    "idle_session_timeout": "0",
}
"""Settings that statements here rely on and that a role or a database may have changed: `sql/settle.sql` is correct
under read committed, psycopg reads times in the ISO style only, and a pool keeps sessions that are idle."""
_BY_VERSION = {
    "CockroachDB": "CockroachDB", "-YB-": "YugabyteDB", "DSQL": "Aurora DSQL", "Redshift": "Redshift",
    "Greenplum": "Greenplum", "Materialize": "Materialize", "RisingWave": "RisingWave",
}  # fmt: skip
"""Servers that speak PostgreSQL's protocol and are none, by a part of what ``version()`` returns."""
_DSQL_HOST = (".dsql.", ".on.aws")
_CITUS = "Citus, and events is one of its distributed tables"
_IS_DISTRIBUTED = "SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrel = to_regclass('events'))"
"""A query for a database that has the extension. Tables that Citus does not know are PostgreSQL's own."""


class UnusableDatabaseError(RuntimeError):
    """The database can never hold keepstream's tables: it is not encoded in UTF-8, or it is no PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Session:
    """The settings of a session, set by a statement: ``options`` of the URL and ``PGOPTIONS`` stay in effect.

    A pooler such as PgBouncer refuses most settings in the startup packet, and accepts them as statements. Behind one,
    each transaction sets them: see `keepstream.sinks.postgres.pooled_connection`.
    """

    settings: Mapping[str, str]

    @classmethod
    def of(cls, schema: str | None) -> Session:
        """Return the settings of every connection. Without a schema the search path is left as it is."""
        return cls(_INHERITED | ({"search_path": schema} if schema else {}))

    def pin(self, connection: SessionConnection) -> None:
        """Set them. Raises UnusableDatabaseError, and psycopg errors."""
        try:
            found = _Found(*connection.execute(_PIN, self._given(connection), prepare=False).fetchall()[0])
        except psycopg.Error:
            if not connection.closed:
                _refuse_other(connection.execute("SELECT version()", prepare=False).fetchall()[0][0], connection)
            raise
        found.check(connection)
        if found.is_pooled:
            path = self._named_path(connection)
            path = path or connection.execute(DEFAULT_PATH, prepare=False).fetchall()[0][0]
            connection.use_pooled({"search_path": path, **self.settings})
        if found.citus and connection.execute(_IS_DISTRIBUTED, prepare=False).fetchall()[0][0]:
            raise _unusable(_CITUS)

    async def pin_async(self, connection: AsyncSessionConnection) -> None:
        """Set them. Raises UnusableDatabaseError, and psycopg errors."""

        async def ask(query: Any, given: Any = None) -> tuple[Any, ...]:  # noqa: ANN401
            return (await (await connection.execute(query, given, prepare=False)).fetchall())[0]

        try:
            found = _Found(*await ask(_PIN, self._given(connection)))
        except psycopg.Error:
            if not connection.closed:
                _refuse_other((await ask("SELECT version()"))[0], connection)
            raise
        found.check(connection)
        if found.is_pooled:
            path = self._named_path(connection) or (await ask(DEFAULT_PATH))[0]
            await connection.use_pooled({"search_path": path, **self.settings})
        if found.citus and (await ask(_IS_DISTRIBUTED))[0]:
            raise _unusable(_CITUS)

    def _given(self, connection: SessionConnection | AsyncSessionConnection) -> dict[str, Any]:
        return parameters_of(self.settings) | {"backend_pid": connection.info.backend_pid}

    def _named_path(self, connection: SessionConnection | AsyncSessionConnection) -> str | None:
        return self.settings.get("search_path") or search_path_of(connection.info.options)


class _Found(NamedTuple):
    """The row of sql/pin_session.sql."""

    encoding: str
    database: str
    is_pooled: bool
    version: str
    citus: str | None
    settings: int

    def check(self, connection: SessionConnection | AsyncSessionConnection) -> None:
        """Raise UnusableDatabaseError for another server than PostgreSQL, and another encoding than UTF-8."""
        _refuse_other(self.version, connection)
        if self.encoding != "UTF8":
            raise UnusableDatabaseError(
                f"the database {self.database} is encoded in {self.encoding}, and events are stored as UTF-8 only; "
                "create one with CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0 and name it in "
                "KEEPSTREAM_POSTGRES__URL"
            )


def other_server(version: str, host: str = "") -> str | None:
    """Return the name of a server that is no PostgreSQL, from what ``version()`` returns and its host name."""
    if _DSQL_HOST[0] in host and host.endswith(_DSQL_HOST[1]):
        return "Aurora DSQL"
    return next((name for part, name in _BY_VERSION.items() if part in version), None)


def _refuse_other(version: str, connection: SessionConnection | AsyncSessionConnection) -> None:
    if name := other_server(version, connection.info.host):
        raise _unusable(name)


def _unusable(name: str) -> UnusableDatabaseError:
    return UnusableDatabaseError(
        f"the server is {name}: keepstream's statements need PostgreSQL itself, or they fail or count wrongly; name a "
        "PostgreSQL server in KEEPSTREAM_POSTGRES__URL"
    )
