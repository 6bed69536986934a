"""How keepstream connects: one pool, one set of session settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.adapt import Dumper
from psycopg_pool import AsyncConnectionPool

if TYPE_CHECKING:
    from psycopg.abc import Buffer

Pool = AsyncConnectionPool[psycopg.AsyncConnection[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class ConnectionPolicy:
    """Where PostgreSQL is and how long anything with it may take."""

    url: str
    pool_size: int = 8
    connect_timeout_s: int = 5
    statement_timeout_s: float = 8.0
    lock_timeout_s: float = 4.0
    schema: str | None = None


class JsonDocument(bytes):
    """Bytes that are JSON already: sent as jsonb without being decoded, parsed or copied."""

    __slots__ = ()


class _JsonDocumentDumper(Dumper):
    oid = psycopg.adapters.types["jsonb"].oid

    def dump(self, obj: JsonDocument) -> Buffer | None:
        return obj


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
    }
    if policy.schema:
        settings["search_path"] = policy.schema
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


async def open_pool(policy: ConnectionPolicy, application_name: str = "keepstream worker") -> Pool:
    """Open the pool without waiting for PostgreSQL: it may come later."""
    pool: Pool = AsyncConnectionPool(
        policy.url,
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
