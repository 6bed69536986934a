"""The event as the contestants with pydantic check it: the same fields as keepstream's, without its finer rules."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from pydantic import BaseModel


class Event(BaseModel):
    """One event."""

    event_id: str
    payload: dict[str, Any]
    metadata: dict[str, Any] | None = None
    timestamp: datetime
    correlation_id: str | None = None

    def row(self) -> tuple[Any, ...]:
        """Return the parameters of `course.UPSERT`."""
        return self.event_id, Jsonb(self.payload), Jsonb(self.metadata), self.timestamp, self.correlation_id
