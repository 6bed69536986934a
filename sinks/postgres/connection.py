"""How keepstream connects: one pool, one set of session settings."""

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
from psycopg_pool import AsyncConnectionPool

Pool = AsyncConnectionPool[psycopg.AsyncConnection[tuple[Any, ...]]]
T = TypeVar("T")

ANSWER_GRACE_S = 2.0
"""How long after the server's own statement timeout its answer may still be on its way."""


@dataclass(frozen=True, slots=True)
class ConnectionPolicy:
    """Where PostgreSQL is and how long anything with it may take."""

    url: str | Callable[[], str] = field(repr=False)
    """libpq's connection string, or who knows it and is asked at each connection: passwords are rotated."""
    pool_size: int = 8
    connect_timeout_s: int = 5
    statement_timeout_s: float = 8.0
    lock_timeout_s: float = 4.0
    schema: str | None = None
    synchronous_commit: bool = True
    """Whether a commit waits for PostgreSQL's disk."""


class JsonDocument(bytes):
    """Bytes that are JSON already: sent as jsonb without being decoded, parsed or copied."""

    __slots__ = ()


class _JsonDocumentDumper(Dumper):
    oid = psycopg.adapters.types["jsonb"].oid

    def dump(self, obj: JsonDocument) -> Buffer | None:
        return obj


class TimeoutConnection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """Waits for an answer only as long as one can come.

    ``statement_timeout`` is the server's: a server that hangs, or a firewall that forgot us, never says so. Cancelling
    the task does not help either, because psycopg then waits for the server once more (up to 10 s, psycopg issue 1371).
    So the socket is shut down, and whoever waits sees a lost connection.
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


def connection_class(policy: ConnectionPolicy) -> type[TimeoutConnection]:
    """Return a connection class that knows this policy's patience."""
    patience_s = policy.statement_timeout_s + ANSWER_GRACE_S
    return type("Connection", (TimeoutConnection,), {"answer_timeout_s": patience_s})


def session_options(policy: ConnectionPolicy) -> str:
    """Return libpq ``options``.

    Every statement of the worker looks rows up by key: a sequential scan is never right, and a generic plan saves
    planning the same statement for every batch.
    """
    settings = {
        "timezone": "UTC",
        "statement_timeout": f"{policy.statement_timeout_s * 1000:.0f}",
        "lock_timeout": f"{policy.lock_timeout_s * 1000:.0f}",
        "idle_in_transaction_session_timeout": "30000",
        "plan_cache_mode": "force_generic_plan",
        "enable_seqscan": "off",
        "synchronous_commit": "on" if policy.synchronous_commit else "off",
    }
    if policy.schema:
        settings["search_path"] = policy.schema
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


async def open_pool(policy: ConnectionPolicy, application_name: str = "keepstream worker") -> Pool:
    """Open the pool without waiting for PostgreSQL: it may come later."""
    pool: Pool = AsyncConnectionPool(
        policy.url,
        connection_class=connection_class(policy),
        min_size=min(2, policy.pool_size),
        max_size=policy.pool_size,
        open=False,
        timeout=policy.connect_timeout_s,
        reconnect_timeout=policy.connect_timeout_s,
        configure=_configure,
        kwargs={
            "autocommit": True,
            "prepare_threshold": 0,
            "connect_timeout": policy.connect_timeout_s,
            "application_name": application_name,
            "options": session_options(policy),
        },
    )
    await pool.open(wait=False)
    return pool


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    connection.adapters.register_dumper(JsonDocument, _JsonDocumentDumper)
