"""FastStream on confluent-kafka: a batch subscriber of pydantic events, NACK_ON_ERROR (its default loses on errors)."""

# mypy: disable-error-code="import-not-found, untyped-decorator"
from __future__ import annotations

import uvloop
from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker
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
from benchmarks.contestants.event_model import Event

broker = KafkaBroker(BOOTSTRAP_SERVERS, logger=None)
pool = AsyncConnectionPool(POSTGRES_URL, open=False, kwargs={"options": SEARCH_PATH})


@broker.subscriber(
    TOPIC, group_id=GROUP_ID, batch=True, max_records=BATCH_SIZE, auto_offset_reset="earliest",
    ack_policy=AckPolicy.NACK_ON_ERROR,
)  # fmt: skip
async def store(events: list[Event]) -> None:
    async with pool.connection() as connection, connection.cursor() as cursor:
        await cursor.executemany(UPSERT, [event.row() for event in events])


async def main() -> None:
    await pool.open()
    await FastStream(broker, logger=None).run()


if __name__ == "__main__":
    uvloop.run(main())
