"""The hand-written loop with its writes tuned: validate, then send the raw bytes as one JSON array per commit.

It gives up what keepstream keeps: no counters, no offset in the transaction, no dead letters, and a batch that holds
an id twice, or text that jsonb cannot hold, ends it.
"""

from __future__ import annotations

import psycopg
from confluent_kafka import Consumer

from benchmarks.contestants.course import BATCH_SIZE, CONSUMER, POSTGRES_URL, SEARCH_PATH, TOPIC
from benchmarks.contestants.event_model import Event
from benchmarks.contestants.hand import PATIENCE_S

STATEMENT = """
INSERT INTO events (event_id, payload, metadata, status, created_at, correlation_id)
SELECT r ->> 'event_id', r -> 'payload', r -> 'metadata', 'delivered', (r ->> 'timestamp')::timestamptz,
       r ->> 'correlation_id'
FROM jsonb_array_elements(%s::jsonb) r
ON CONFLICT (event_id) DO UPDATE
SET payload = excluded.payload, metadata = excluded.metadata, status = excluded.status,
    created_at = excluded.created_at, correlation_id = excluded.correlation_id, updated_at = now()"""


def main() -> None:
    consumer = Consumer(CONSUMER)
    consumer.subscribe([TOPIC])
    with psycopg.connect(POSTGRES_URL, options=SEARCH_PATH, autocommit=True, prepare_threshold=0) as connection:
        while True:
            values = [m.value() or b"" for m in consumer.consume(BATCH_SIZE, PATIENCE_S) if not m.error()]
            if not values:
                continue
            for value in values:
                Event.model_validate_json(value)
            connection.execute(STATEMENT, [f"[{b','.join(values).decode()}]"])
            consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main()
