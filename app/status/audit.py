"""The audit: the promise checked from outside, for the command, the demo and the tests alike.

`quick` compares what PostgreSQL says about itself, in one query. `DeepAudit` reads the topic and the dead letter topic
again. A live worker does not disturb it: where it stands is read first, and what was settled by then is in its place
for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from keepstream.processors.audit import OffsetCoverage, checks, faults
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.audit import AuditWindow, Check, Discrepancy
from keepstream.schemas.record import KafkaRecord, incarnation_name, parse_record_id
from keepstream.sinks.kafka.admin import KafkaAdmin
from keepstream.sinks.kafka.topic_scan import TopicScan
from keepstream.sinks.postgres.audit import AuditTables, audit_tables, books, positions
from keepstream.sinks.postgres.connection import Connection

_JUDGED_AT_ONCE = 500
_HELD_BYTES = 16 * 1024 * 1024


def quick(connection: Connection) -> list[Check]:
    """Check every partition that PostgreSQL knows of, in one snapshot."""
    return list(checks(books(connection)))


@dataclass(frozen=True, slots=True)
class AuditScope:
    """Which records to read again; nothing given: all that keepstream settled. ``to_offset`` is not included."""

    since: datetime | None = None
    from_offset: int | None = None
    to_offset: int | None = None
    partitions: Sequence[int] = ()


@dataclass(slots=True)
class DeepAudit:
    """One deep audit over a connection in autocommit. Raises KafkaException and psycopg.Error.

    ``progress`` gets (what is read, offsets passed, offsets in all). ``records`` and ``letters`` count what was read.
    """

    connection: Connection
    client: KafkaAdmin
    topic: str
    dlq_topic: str
    reach: AuditScope = field(default_factory=AuditScope)
    validator: Validator = field(default_factory=Validator)
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None
    records: int = 0
    letters: int = 0
    windows: list[AuditWindow] = field(default_factory=list)
    pruned_before: datetime | None = None

    def run(self) -> Iterator[Discrepancy]:
        """Yield every difference, as it is found."""
        self.windows = self._windows()
        with audit_tables(self.connection, self.topic, self.windows) as tables:
            tables.add_letters(self._letters())
            yield from tables.letter_faults(rewound=[window.partition for window in self.windows if window.rewound])
            yield from self._records(tables)
            self.pruned_before = tables.pruned_before()

    def _windows(self) -> list[AuditWindow]:
        settled = positions(self.connection, self.topic)  # first: what is read later can only be more
        wanted = [p for p in settled if not self.reach.partitions or p.partition in self.reach.partitions]
        bounds = self.client.watermarks(self.topic)
        since = {}
        if self.reach.since:
            with TopicScan(self.client.config, self.topic) as scan:
                since = scan.offsets_at(self.reach.since, bounds)
        return [
            AuditWindow(
                p.partition, max(p.start, self.reach.from_offset or 0, since.get(p.partition, 0)),
                min(p.end, bounds[p.partition][1], _or(self.reach.to_offset, p.end)), bounds[p.partition][0],
                p.rewound, p.incarnation,
            )
            for p in wanted if p.partition in bounds
        ]  # fmt: skip

    def _letters(self) -> Iterator[tuple[int, int]]:
        """Yield the places of all records in the windows that the dead letter topic holds."""
        ranges = {
            (incarnation_name(self.topic, w.incarnation), w.partition): range(w.start, w.end) for w in self.windows
        }
        bounds = self.client.watermarks(self.dlq_topic)
        progress = _Steps(self.progress, "dead letters", bounds)
        with TopicScan(self.client.config, self.dlq_topic) as scan:
            for partition, (start, end) in bounds.items():
                for reached, letter_ids in scan.dead_letter_ids(partition, start, end):
                    self.letters += len(letter_ids)
                    for topic, origin, offset in map(parse_record_id, letter_ids):
                        if offset is not None and offset in ranges.get((topic or "", origin or 0), ()):
                            yield origin or 0, offset
                    progress.at(partition, reached)

    def _records(self, tables: AuditTables) -> Iterator[Discrepancy]:
        ranges = {window.partition: window.reads for window in sorted(self.windows, key=lambda w: w.partition)}
        progress = _Steps(self.progress, "records", ranges)
        accounted = OffsetCoverage(tables.stretches())
        suspects: list[KafkaRecord] = []
        with TopicScan(self.client.config, self.topic) as scan:
            for partition, (start, end) in ranges.items():
                for batch in scan.unaccounted(partition, start, end, accounted.unknown):
                    self.records += batch.count
                    suspects += batch.records
                    if _full(suspects):
                        yield from faults(self.validator, suspects, tables)
                        suspects.clear()
                    progress.at(partition, batch.reached)
        yield from faults(self.validator, suspects, tables)


class _Steps:
    """Adds up how far the partitions are, which are read one after another."""

    def __init__(self, tell: Callable[[str, int, int], None], what: str, ranges: Mapping[int, tuple[int, int]]) -> None:
        self._tell, self._what, self._ranges = tell, what, ranges
        self._lengths = {p: max(0, end - start) for p, (start, end) in ranges.items()}
        self._total = sum(self._lengths.values())

    def at(self, partition: int, reached: int) -> None:
        before = sum(length for p, length in self._lengths.items() if p < partition)
        self._tell(self._what, before + reached - self._ranges[partition][0], self._total)


def _full(suspects: Sequence[KafkaRecord]) -> bool:
    return len(suspects) >= _JUDGED_AT_ONCE or sum(len(record.value or b"") for record in suspects) >= _HELD_BYTES


def _or(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given
