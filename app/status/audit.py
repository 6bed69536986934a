"""The audit, for the command, the demo and the tests.

`quick_audit` compares the accounts in PostgreSQL, in one query. `DeepAudit` reads the topic and the dead letter topic
again. Workers may run: settled offsets are read first, and what they cover does not change any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from keepstream.processors.audit import OffsetCoverage, check_accounts, find_discrepancies
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.audit import AuditWindow, Check, Discrepancy
from keepstream.schemas.record import KafkaRecord, incarnation_name, parse_record_id
from keepstream.sinks.kafka.admin import KafkaAdmin
from keepstream.sinks.kafka.topic_scan import TopicScan
from keepstream.sinks.postgres.audit import AuditTables, audit_tables, partition_accounts, settled_windows
from keepstream.sinks.postgres.connection import Connection

_MAX_SUSPECTS = 500
_MAX_SUSPECT_BYTES = 16 * 1024 * 1024


def quick_audit(connection: Connection) -> list[Check]:
    """Return the checks of every partition in PostgreSQL, of one snapshot."""
    return list(check_accounts(partition_accounts(connection)))


@dataclass(frozen=True, slots=True)
class AuditScope:
    """Records to read again; by default all that are settled. ``to_offset`` is exclusive."""

    since: datetime | None = None
    from_offset: int | None = None
    to_offset: int | None = None
    partitions: Sequence[int] = ()


@dataclass(slots=True)
class DeepAudit:
    """A deep audit, on a connection in autocommit. Raises KafkaException and psycopg.Error.

    ``progress`` takes (what is read, offsets read, offsets in all). ``records`` and ``dead_letters`` count what was
    read.
    """

    connection: Connection
    client: KafkaAdmin
    topic: str
    dlq_topic: str
    scope: AuditScope = field(default_factory=AuditScope)
    validator: Validator = field(default_factory=Validator)
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None
    records: int = 0
    dead_letters: int = 0
    windows: list[AuditWindow] = field(default_factory=list)
    pruned_before: datetime | None = None

    def run(self) -> Iterator[Discrepancy]:
        """Yield every discrepancy as it is found."""
        self.windows = self._windows()
        with audit_tables(self.connection, self.topic, self.windows) as tables:
            tables.add_dead_letters(self._dead_letters())
            rewound = [window.partition for window in self.windows if window.rewound]
            yield from tables.dead_letter_discrepancies(rewound=rewound)
            yield from self._records(tables)
            self.pruned_before = tables.pruned_before()

    def _windows(self) -> list[AuditWindow]:
        settled = settled_windows(self.connection, self.topic)  # first: what is read later can only be more
        wanted = [p for p in settled if not self.scope.partitions or p.partition in self.scope.partitions]
        bounds, to_offset = self.client.watermarks(self.topic), self.scope.to_offset
        since = {}
        if self.scope.since:
            with TopicScan(self.client, self.topic) as scan:
                since = scan.offsets_at(self.scope.since, bounds)
        return [
            replace(
                p, log_start=bounds[p.partition][0],
                start=max(p.start, self.scope.from_offset or 0, since.get(p.partition, 0)),
                end=min(p.end, bounds[p.partition][1], p.end if to_offset is None else to_offset),
            )
            for p in wanted if p.partition in bounds
        ]  # fmt: skip

    def _dead_letters(self) -> Iterator[tuple[int, int]]:
        """Yield partition and offset of each record within the windows that is in the dead letter topic."""
        ranges = {
            (incarnation_name(self.topic, w.incarnation), w.partition): range(w.start, w.end) for w in self.windows
        }
        bounds = self.client.watermarks(self.dlq_topic)
        progress = _Progress(self.progress, "dead letters", bounds)
        with TopicScan(self.client, self.dlq_topic) as scan:
            for partition, (start, end) in bounds.items():
                for reached, ids in scan.dead_letter_ids(partition, start, end):
                    self.dead_letters += len(ids)
                    for topic, origin, offset in map(parse_record_id, ids):
                        if offset is not None and offset in ranges.get((topic or "", origin or 0), ()):
                            yield origin or 0, offset
                    progress.at(partition, reached)

    def _records(self, tables: AuditTables) -> Iterator[Discrepancy]:
        ranges = {window.partition: window.reads for window in sorted(self.windows, key=lambda w: w.partition)}
        progress = _Progress(self.progress, "records", ranges)
        accounted = OffsetCoverage(tables.offset_ranges())
        suspects: list[KafkaRecord] = []
        with TopicScan(self.client, self.topic) as scan:
            for partition, (start, end) in ranges.items():
                for batch in scan.unaccounted(partition, start, end, accounted.uncovered):
                    self.records += batch.count
                    suspects += batch.records
                    if _full(suspects):
                        yield from find_discrepancies(self.validator, suspects, tables)
                        suspects.clear()
                    progress.at(partition, batch.reached)
        yield from find_discrepancies(self.validator, suspects, tables)


class _Progress:
    """Sums the progress over partitions, which are read one after another."""

    def __init__(
        self, update: Callable[[str, int, int], None], what: str, ranges: Mapping[int, tuple[int, int]]
    ) -> None:
        self._update, self._what, self._ranges = update, what, ranges
        self._lengths = {p: max(0, end - start) for p, (start, end) in ranges.items()}
        self._total = sum(self._lengths.values())

    def at(self, partition: int, reached: int) -> None:
        before = sum(length for p, length in self._lengths.items() if p < partition)
        self._update(self._what, before + reached - self._ranges[partition][0], self._total)


def _full(suspects: Sequence[KafkaRecord]) -> bool:
    return len(suspects) >= _MAX_SUSPECTS or sum(len(record.value or b"") for record in suspects) >= _MAX_SUSPECT_BYTES
