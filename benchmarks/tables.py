"""The table of events before a run: filled, with random or time-ordered ids, and divided into partitions."""

from __future__ import annotations

from typing import Any

import psycopg

_ID_TAIL = "lpad(n::text, 11, '0')"
RANDOM_IDS = f"'0193b2f4-7e1a-7c3e-' || lpad(to_hex((random() * 65535)::int), 4, '0') || '-f' || {_ID_TAIL}"
UUID7_IDS = f"'0193b2f4-' || lpad(to_hex(n / 10000), 4, '0') || '-7000-8000-f' || {_ID_TAIL}"
"""Below the ids of `events.event_id`: what is in the table came before."""
FILL = """
INSERT INTO events (event_id, payload, metadata, status, created_at, correlation_id,
                    source_topic, source_partition, source_offset)
SELECT {ids},
       '{{"order_id": "o-1", "amount": 129.95, "currency": "EUR", "items": [{{"sku": "A-1", "qty": 2}}]}}',
       '{{"source": "shop", "region": "eu-central", "version": 3}}', 'delivered', now(), 'corr-0193b2f4-7e1a',
       'earlier', 0, n
FROM generate_series(1, %s) n"""
PARTITION = "CREATE TABLE events_{n} PARTITION OF events FOR VALUES WITH (MODULUS {partitions}, REMAINDER {n})"


def prepare(
    connection: psycopg.Connection[Any], _schema: str, *, rows: int, time_ordered: bool = False, partitions: int = 0
) -> None:
    """Divide the table by the hash of the id, and put rows into it; the index is built afterwards: it is faster."""
    if partitions:
        _divide(connection, partitions)
    if rows:
        connection.execute("ALTER TABLE events DROP CONSTRAINT events_pkey")
        connection.execute(FILL.format(ids=UUID7_IDS if time_ordered else RANDOM_IDS), [rows])
        connection.execute("ALTER TABLE events ADD CONSTRAINT events_pkey PRIMARY KEY (event_id)")
        connection.execute("VACUUM ANALYZE events")


def _divide(connection: psycopg.Connection[Any], partitions: int) -> None:
    connection.execute("ALTER TABLE events RENAME TO undivided")
    connection.execute("ALTER TABLE undivided RENAME CONSTRAINT events_pkey TO undivided_pkey")
    connection.execute("CREATE TABLE events (LIKE undivided INCLUDING ALL) PARTITION BY HASH (event_id)")
    connection.execute("DROP TABLE undivided")
    for n in range(partitions):
        connection.execute(PARTITION.format(n=n, partitions=partitions))
