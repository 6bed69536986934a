"""What died last and is still open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keepstream.sinks.postgres.statements import statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

LAST_ERRORS = statement("last_errors")


@dataclass(frozen=True, slots=True)
class LastError:
    """A dead letter without its record. ``id`` is what `keepstream dlq show` takes."""

    failed_at: datetime
    step: str
    verdict: str
    reason: str
    id: str
    event_id: str | None
    message: str


def last_errors(connection: Connection, limit: int) -> Sequence[LastError]:
    """Return the newest first."""
    return [LastError(*row) for row in connection.execute(LAST_ERRORS, {"limit": limit}).fetchall()]
