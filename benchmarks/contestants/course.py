"""What a contestant is told: where to read, where to write, how much per commit. Needs the standard library only."""

from __future__ import annotations

import os

BOOTSTRAP_SERVERS = os.environ.get("BENCH_BOOTSTRAP_SERVERS", "")
TOPIC = os.environ.get("BENCH_TOPIC", "")
GROUP_ID = os.environ.get("BENCH_GROUP_ID", "")
POSTGRES_URL = os.environ.get("BENCH_POSTGRES_URL", "")
SCHEMA = os.environ.get("BENCH_SCHEMA", "")
SEARCH_PATH = f"-c search_path={SCHEMA}"
BATCH_SIZE = int(os.environ.get("BENCH_BATCH_SIZE", "100"))
PARTITIONS = int(os.environ.get("BENCH_PARTITIONS", "8"))

CONSUMER = {
    "bootstrap.servers": BOOTSTRAP_SERVERS,
    "group.id": GROUP_ID,
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
}
"""librdkafka's settings of everyone who uses confluent-kafka by hand."""

UPSERT = """
INSERT INTO events (event_id, payload, metadata, status, created_at, correlation_id)
VALUES (%s, %s, %s, 'delivered', %s, %s)
ON CONFLICT (event_id) DO UPDATE
SET payload = excluded.payload, metadata = excluded.metadata, status = excluded.status,
    created_at = excluded.created_at, correlation_id = excluded.correlation_id, updated_at = now()"""
"""What everyone executes who writes row by row."""
