"""Connections to PostgreSQL: the pool and the settings of a session."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import Dumper
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from keepstream.sinks.postgres.pooled_connection import AsyncSessionConnection
from keepstream.sinks.postgres.session import CLIENT_ENCODING, Session, UnusableDatabaseError

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]

ANSWER_GRACE_S = 2.0
"""Time after the server's statement timeout in which its answer may still arrive."""


@dataclass(frozen=True, slots=True)
class ConnectionPolicy:
    """The connection string and the timeouts of a pool."""

    url: str | Callable[[], str] = field(repr=False)
    """libpq's connection string, or a function that returns it for each connection: passwords are rotated."""
    pool_size: int = 8
    connect_timeout_s: int = 5
    statement_timeout_s: float = 8.0
    lock_timeout_s: float = 4.0
    schema: str | None = None
    synchronous_commit: bool = True
    """Whether a commit waits for PostgreSQL's disk."""


class Pool(AsyncConnectionPool[psycopg.AsyncConnection[tuple[Any, ...]]]):
    """A connection pool whose timeout limits connecting only: waiting for a connection in use has no limit.

    psycopg's pool raises PoolTimeout for both, so more partitions than connections looked like an outage. When no
    connection can be made, every waiting task gets a PoolTimeout with the first one.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **options)
        self._in_use, self._outages = 0, 0
        self._freed = asyncio.Condition()

    async def getconn(  # psycopg's signature
        self,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        """Return a connection once one is free. Raises PoolTimeout when none can be made within the timeout."""
        outages = self._outages
        async with self._freed:
            try:
                await self._freed.wait_for(lambda: self._in_use < self.max_size or self._outages > outages)
            except BaseException:
                self._freed.notify()  # before Python 3.13 the wake-up of a waiter that is cancelled is lost
                raise
            if self._outages > outages:
                raise PoolTimeout("no connection could be made while this one was waited for")
            self._in_use += 1
        try:
            return await super().getconn(timeout)
        except BaseException as error:
            await self._free(outage=isinstance(error, PoolTimeout))
            raise

    async def putconn(self, conn: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        """Return a connection to the pool."""
        try:
            await super().putconn(conn)
        finally:
            await self._free()

    async def _free(self, *, outage: bool = False) -> None:
        async with self._freed:
            self._in_use -= 1
            self._outages += outage
            if outage:
                self._freed.notify_all()
            else:
                self._freed.notify()


class JsonDocument(bytes):
    """Bytes that are JSON already: sent as jsonb without being decoded, parsed or copied."""

    __slots__ = ()


class _JsonDocumentDumper(Dumper):
    oid = psycopg.adapters.types["jsonb"].oid

    def dump(self, obj: JsonDocument) -> Buffer | None:
        return obj


class TimeoutConnection(AsyncSessionConnection):
    """A connection that fails when no answer arrives in time.

    ``statement_timeout`` is the server's: a hanging server, or a firewall that drops packets, never reports it.
    Cancelling the task does not help, because psycopg then waits for the server again (up to 10 s, psycopg issue 1371).
    So the socket is shut down, which the waiting task sees as a lost connection.
    """

    answer_timeout_s: float

    async def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:  # noqa: ANN401
        alarm = asyncio.get_running_loop().call_later(self.answer_timeout_s, self._give_up)
        try:
            return await super().wait(gen, *args, **options)
        finally:
            alarm.cancel()

    def _give_up(self) -> None:
        with suppress(OSError, psycopg.OperationalError), socket.socket(fileno=os.dup(self.fileno())) as ours:
            ours.shutdown(socket.SHUT_RDWR)


def worker_session(policy: ConnectionPolicy) -> Session:
    """Return the settings of the worker's connections.

    Every statement of the worker reads rows by key: a sequential scan is never right, and a generic plan saves planning
    the same statement for every batch.
    """
    return Session(
        {
            **Session.of(policy.schema).settings,
            "statement_timeout": f"{policy.statement_timeout_s * 1000:.0f}",
            "lock_timeout": f"{policy.lock_timeout_s * 1000:.0f}",
            "idle_in_transaction_session_timeout": "30000",
            "plan_cache_mode": "force_generic_plan",
            "enable_seqscan": "off",
            "synchronous_commit": "on" if policy.synchronous_commit else "off",
        }
    )


async def open_pool(
    policy: ConnectionPolicy,
    application_name: str = "keepstream worker",
    on_unusable: Callable[[UnusableDatabaseError], None] = lambda _error: None,
) -> Pool:
    """Open the pool without waiting for PostgreSQL. ``on_unusable`` is called for a database that can never be used."""
    session = worker_session(policy)
    answer_timeout_s = policy.statement_timeout_s + ANSWER_GRACE_S

    async def configure(connection: AsyncSessionConnection) -> None:
        connection.adapters.register_dumper(JsonDocument, _JsonDocumentDumper)
        try:
            await session.pin_async(connection)
        except UnusableDatabaseError as error:
            on_unusable(error)
            raise

    pool = Pool(
        policy.url,
        connection_class=type("Connection", (TimeoutConnection,), {"answer_timeout_s": answer_timeout_s}),
        min_size=min(2, policy.pool_size),
        max_size=policy.pool_size,
        open=False,
        timeout=policy.connect_timeout_s,
        reconnect_timeout=policy.connect_timeout_s,
        configure=configure,
        kwargs={
            "autocommit": True,
            "prepare_threshold": 0,
            "connect_timeout": policy.connect_timeout_s,
            "application_name": application_name,
            "client_encoding": CLIENT_ENCODING,
        },
    )
    await pool.open(wait=False)
    return pool
