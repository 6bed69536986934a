"""Quix Streams with its own PostgreSQL sink, upserting, one commit per 100 messages."""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from quixstreams import Application
from quixstreams.sinks.community.postgresql import PostgreSQLSink

from benchmarks.contestants.course import BATCH_SIZE, BOOTSTRAP_SERVERS, GROUP_ID, POSTGRES_URL, SCHEMA, TOPIC


def row(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "event_id": event["event_id"], "payload": event["payload"], "metadata": event.get("metadata"),
        "status": "delivered", "created_at": event["timestamp"], "correlation_id": event.get("correlation_id"),
    }  # fmt: skip


def main() -> None:
    place = urlsplit(POSTGRES_URL)
    sink = PostgreSQLSink(
        host=place.hostname, port=place.port, dbname=place.path[1:], user=place.username, password=place.password,
        table_name="events", schema_name=SCHEMA, schema_auto_update=False, include_metadata=False,
        primary_key_columns="event_id", upsert_on_primary_key=True,
    )  # fmt: skip
    app = Application(
        BOOTSTRAP_SERVERS, consumer_group=GROUP_ID, auto_offset_reset="earliest", commit_every=BATCH_SIZE,
        auto_create_topics=False, loglevel="ERROR",
    )  # fmt: skip
    app.dataframe(app.topic(TOPIC, value_deserializer="json")).apply(row).sink(sink)
    app.run()


if __name__ == "__main__":
    main()
