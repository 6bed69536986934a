"""Retention: deletes delivered rows by age, a range of blocks per transaction, and counts them by partition.

It reads the heap once, in physical order: an index on ``created_at`` of delivered rows would cost every insert.
Partitions of the table are read one after another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from psycopg import sql

from keepstream.sinks.postgres.connection import Connection
from keepstream.sinks.postgres.statements import statement

PRUNE = statement("prune")
BLOCKS = 256
"""2 MiB of the heap per transaction, a few thousand rows: tens of milliseconds in which a worker may wait."""
_LEAVES = """
WITH leaves AS (  -- the tree of a table without partitions is empty
    SELECT relid FROM pg_partition_tree('events') WHERE isleaf UNION SELECT 'events'::regclass
)
SELECT n.nspname, c.relname, pg_relation_size(c.oid) / current_setting('block_size')::bigint
FROM leaves JOIN pg_class c ON c.oid = relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' ORDER BY 1, 2"""
_COUNT = """
SELECT source_topic, source_partition, count(*) FROM events
WHERE status = 'delivered' AND created_at < %s GROUP BY 1, 2 ORDER BY 1, 2"""


def prunable(connection: Connection, before: datetime) -> dict[tuple[str, int], int]:
    """Count what `prune` would delete, per (topic, partition) of its source. Reads the whole table."""
    with connection.transaction():
        connection.execute("SET LOCAL statement_timeout = 0")
        return {(topic, partition): count for topic, partition, count in connection.execute(_COUNT, [before])}


def prune(connection: Connection, before: datetime, blocks: int = BLOCKS) -> Iterator[Counter[tuple[str, int]]]:
    """Delete delivered rows of older events; yield the counts per (topic, partition) after each transaction.

    The connection is in autocommit. A prune can be stopped at any point and run again.
    """
    for schema, table, size in connection.execute(_LEAVES).fetchall():
        query = sql.SQL(PRUNE).format(leaf=sql.Identifier(schema, table))
        for first in range(0, size, blocks):
            given = {"first": f"({first},0)", "beyond": f"({first + blocks},0)", "before": before}
            rows = connection.execute(query, given).fetchall()
            yield Counter({(topic, partition): count for topic, partition, count in rows})
