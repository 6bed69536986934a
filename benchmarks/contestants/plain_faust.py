"""Plain Faust: one agent, ``take(100)``, a validated record class, one transaction with executemany per batch."""

# mypy: disable-error-code="import-untyped, misc, untyped-decorator, no-untyped-call"
from __future__ import annotations

from datetime import datetime
from typing import Any

import faust
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from benchmarks.contestants.course import (
    BATCH_SIZE,
    BOOTSTRAP_SERVERS,
    GROUP_ID,
    POSTGRES_URL,
    SEARCH_PATH,
    TOPIC,
    UPSERT,
)

app = faust.App(
    GROUP_ID, broker=f"kafka://{BOOTSTRAP_SERVERS}", web_enabled=False, topic_disable_leader=True,
    topic_allow_declare=False, consumer_auto_offset_reset="earliest",
)  # fmt: skip
pool = AsyncConnectionPool(POSTGRES_URL, open=False, kwargs={"options": SEARCH_PATH})


class Event(faust.Record, validation=True, coerce=True):
    """One event."""

    event_id: str
    payload: dict[str, Any]
    metadata: dict[str, Any]
    timestamp: datetime
    correlation_id: str


topic = app.topic(TOPIC, value_type=Event, value_serializer="json")


@app.agent(topic)
async def store(stream: Any) -> None:
    await pool.open()
    async for events in stream.take(BATCH_SIZE, within=1):
        rows = [(e.event_id, Jsonb(e.payload), Jsonb(e.metadata), e.timestamp, e.correlation_id) for e in events]
        async with pool.connection() as connection, connection.cursor() as cursor:
            await cursor.executemany(UPSERT, rows)


if __name__ == "__main__":
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()
