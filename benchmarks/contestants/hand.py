"""The loop most teams write by hand: consume, validate, executemany, commit; one connection, one thread."""

from __future__ import annotations

import psycopg
from confluent_kafka import Consumer

from benchmarks.contestants.course import BATCH_SIZE, CONSUMER, POSTGRES_URL, SEARCH_PATH, TOPIC, UPSERT
from benchmarks.contestants.event_model import Event

PATIENCE_S = 0.02
"""How long a batch may wait to fill up: short, for the sake of latency; with a backlog it never waits."""


def main() -> None:
    consumer = Consumer(CONSUMER)
    consumer.subscribe([TOPIC])
    with psycopg.connect(POSTGRES_URL, options=SEARCH_PATH) as connection, connection.cursor() as cursor:
        while True:
            messages = [message for message in consumer.consume(BATCH_SIZE, PATIENCE_S) if not message.error()]
            if not messages:
                continue
            cursor.executemany(UPSERT, [Event.model_validate_json(m.value() or b"").row() for m in messages])
            connection.commit()
            consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main()
