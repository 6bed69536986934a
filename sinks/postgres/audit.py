"""Queries of an audit. It writes only temporary tables, which are dropped with its transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from keepstream.schemas.audit import AuditWindow, Discrepancy, DiscrepancyKind, PartitionAccount
from keepstream.schemas.record import incarnation_name
from keepstream.sinks.postgres.connection import Connection
from keepstream.sinks.postgres.dead_letters import UNRESOLVED
from keepstream.sinks.postgres.statements import statement

ACCOUNTS = statement("audit_accounts")
DEAD_LETTERS = statement("audit_dead_letters")
OFFSET_RANGES = statement("audit_offset_ranges")
VERSIONS = statement("audit_versions")
_TABLES = """
CREATE TEMPORARY TABLE audit_windows (partition integer PRIMARY KEY, first_offset bigint, next_offset bigint,
                                      id_topic text)
    ON COMMIT DROP;
CREATE TEMPORARY TABLE audit_dead_letters (partition integer, "offset" bigint) ON COMMIT DROP;
CREATE TEMPORARY TABLE audit_outbox (partition integer, "offset" bigint, PRIMARY KEY (partition, "offset"))
    ON COMMIT DROP;
SET LOCAL work_mem = '64MB';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0"""
"""No timeouts: sorting a large table may take minutes, and the topic is read between two fetches of its result."""
_SETTLED = """
SELECT partition, first_offset, next_offset, 0, rewound_at IS NOT NULL, incarnation FROM stream_offsets
WHERE topic = %s ORDER BY partition"""
_OUTBOX = """
INSERT INTO audit_outbox
SELECT o.partition, o."offset" FROM dead_letter_outbox o
JOIN audit_windows w ON (w.id_topic, w.partition) = (o.topic, o.partition)"""
"""Read before the dead letter topic: a dead letter that leaves the outbox later may be behind the end that was read."""
_FETCH_ROWS = 10_000


def partition_accounts(connection: Connection) -> list[PartitionAccount]:
    """Return the account of every partition in PostgreSQL. Reads ``events`` once."""
    return [PartitionAccount(*row) for row in connection.execute(ACCOUNTS).fetchall()]


def settled_windows(connection: Connection, topic: str) -> list[AuditWindow]:
    """Return the offsets of each partition of a topic that are settled."""
    return [AuditWindow(*row) for row in connection.execute(_SETTLED, [topic]).fetchall()]


def topic_ids(connection: Connection, topic: str) -> dict[str, list[int]]:
    """Return the ids of the topics of this name, each with the partitions whose offset is in that topic."""
    query = """SELECT topic_id, array_agg(partition ORDER BY partition) FROM stream_offsets
               WHERE topic = %s AND topic_id IS NOT NULL GROUP BY topic_id"""
    return dict(connection.execute(query, [topic]).fetchall())


@dataclass(frozen=True, slots=True)
class AuditTables:
    """The temporary tables and queries of a deep audit, in one transaction; each query sees the latest commits."""

    connection: Connection
    topic: str

    def add_dead_letters(self, records: Iterable[tuple[int, int]]) -> None:
        """Copy the (partition, offset) of source records in the dead letter topic into a table, copies too."""
        with (
            self.connection.cursor() as cursor,
            cursor.copy('COPY audit_dead_letters (partition, "offset") FROM STDIN') as copy,
        ):
            for partition, offset in records:
                copy.write(b"%d\t%d\n" % (partition, offset))
        self.connection.execute("ANALYZE audit_dead_letters")

    def dead_letter_discrepancies(self, *, rewound: Sequence[int] = ()) -> Iterator[Discrepancy]:
        """Compare dead letter topic, index and rows. Rows of a rewound partition may be of an earlier topic."""
        given = {"topic": self.topic, "unresolved": [*UNRESOLVED]}
        with self.connection.cursor("audit_dead_letter_discrepancies") as cursor:
            for kind, partition, offset, event_id in cursor.execute(DEAD_LETTERS, given):
                if kind != DiscrepancyKind.BOTH or partition not in rewound:
                    yield Discrepancy(DiscrepancyKind(kind), self.topic, partition, offset, event_id)

    def offset_ranges(self) -> Iterator[tuple[int, int, int]]:
        """Yield (partition, first, last) of the accounted offsets, sorted."""
        first = 0
        with self.connection.cursor("audit_offset_ranges") as cursor:
            cursor.itersize = _FETCH_ROWS
            for partition, offset, is_first, is_last in cursor.execute(OFFSET_RANGES, {"topic": self.topic}):
                first = offset if is_first else first
                if is_last:
                    yield partition, first, offset

    def versions(self, event_ids: Sequence[str]) -> dict[str, datetime]:
        return dict(self.connection.execute(VERSIONS, {"event_ids": event_ids}).fetchall()) if event_ids else {}

    def pruned_before(self) -> datetime | None:
        """Return the latest bound of a prune, of all partitions: an event may have moved between them."""
        found = self.connection.execute("SELECT max(before) FROM pruned_events").fetchone()
        return found[0] if found else None


@contextmanager
def audit_tables(connection: Connection, topic: str, windows: Sequence[AuditWindow]) -> Iterator[AuditTables]:
    """Open the transaction of a deep audit of ``topic``, on a connection in autocommit."""
    with connection.transaction():
        connection.execute(_TABLES)
        with connection.cursor() as cursor:
            rows = [(w.partition, w.start, w.end, incarnation_name(topic, w.incarnation)) for w in windows]
            cursor.executemany("INSERT INTO audit_windows VALUES (%s, %s, %s, %s)", rows)
        connection.execute("ANALYZE audit_windows")
        connection.execute(_OUTBOX)
        yield AuditTables(connection, topic)
