"""The checks of the audit: every record is an event or a dead letter, and is counted once. Pure.

`check_accounts` compares the numbers in PostgreSQL with each other. `OffsetCoverage` and `find_discrepancies` check the
records of the topic: most are in ``events`` under their own offset, or in the dead letter topic, and are not parsed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Protocol

from keepstream.processors.validation.contract import Verdict as ContractVerdict
from keepstream.processors.validation.timestamps import parse_timestamp
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.audit import Check, Discrepancy, DiscrepancyKind, PartitionAccount
from keepstream.schemas.event import UNDATED, Ignored, ValidEvent
from keepstream.schemas.record import Record

SUM_OF_OUTCOMES = "delivered + duplicate + stale + ignored + dead-lettered"
"""What the records add up to, in the words of a check."""
OffsetRange = tuple[int, int, int]
"""Partition, first and last offset."""


class EventLookup(Protocol):
    """What PostgreSQL knows about single events."""

    def versions(self, event_ids: Sequence[str]) -> dict[str, datetime]:
        """Return the timestamp of each event that is stored and delivered."""
        ...

    def pruned_before(self) -> datetime | None:
        """Return the age up to which rows may have been pruned, if any were."""
        ...


def check_accounts(accounts: Sequence[PartitionAccount]) -> Iterator[Check]:
    """Compare what was written apart: offsets, counters, rows and the ledger of dead letters."""
    for account in accounts:
        yield from _check_partition(account)
    pruned = sum(account.pruned for account in accounts)
    claim = f"delivered = rows in events{' + pruned' if pruned else ''}"
    yield Check(claim, sum(b.delivered for b in accounts), sum(b.rows for b in accounts) + pruned)


def _check_partition(account: PartitionAccount) -> Iterator[Check]:
    partition = (account.topic, account.partition)
    outcomes = account.delivered + account.duplicate + account.stale + account.ignored + account.dead_lettered
    yield Check(f"consumed = {SUM_OF_OUTCOMES}", account.consumed, outcomes, *partition)
    yield Check("total = consumed", account.total, account.consumed, *partition)
    reached = account.first_offset + account.consumed + account.skipped
    yield Check("first offset + consumed + skipped = next offset", reached, account.next_offset, *partition)
    yield Check("pending rows left behind = 0", account.behind, 0, *partition)
    if not account.rewound or account.incarnation:  # without incarnations one row may stand for two dead letters
        yield Check("dead-lettered = rows in dead_letters", account.dead_lettered, account.dead_letters, *partition)
    if not account.rewound:
        yield Check("rows and dead letters beyond the next offset = 0", account.ahead, 0, *partition)


class OffsetCoverage:
    """Where records are known to have ended: sorted offset ranges, taken one by one, never all at once."""

    def __init__(self, ranges: Iterable[OffsetRange]) -> None:
        self._rest = iter(ranges)
        self._partition, self._first, self._last = -1, 0, -1

    def uncovered(self, partition: int, offsets: Sequence[int]) -> list[int]:
        """Return the indices of those sorted offsets that no range covers. Ask in the order of the ranges.

        A step per range, not per offset: most batches lie in one.
        """
        found: list[int] = []
        at = 0
        while at < len(offsets):
            offset = offsets[at]
            while self._partition < partition or (self._partition == partition and self._last < offset):
                self._partition, self._first, self._last = next(self._rest, _BEYOND)
            if self._partition > partition:
                return [*found, *range(at, len(offsets))]
            begins = bisect_left(offsets, self._first, at)
            found += range(at, begins)
            at = bisect_right(offsets, self._last, begins)
        return found


_BEYOND: OffsetRange = (2**31, 0, -1)


def find_discrepancies(validator: Validator, records: Sequence[Record], events: EventLookup) -> Iterator[Discrepancy]:
    """Check records that have no row or dead letter of their own offset: repeats of a stored event, or lost.

    A record is a repeat if its event is stored with the same or a later timestamp, or if it has no timestamp of its
    own. An event old enough to have been pruned is accepted, and so is a record that is ignored.
    """
    verdicts = [_without_document(validator.check_contract(record)) for record in records]
    # PostgreSQL's text cannot hold NUL: no such event is stored, and none may be asked for.
    ids = {v.event_id for v in verdicts if isinstance(v, ValidEvent) and "\0" not in v.event_id}
    versions = events.versions([*ids])
    bound = events.pruned_before()  # after the versions: a row goes in one transaction with its note
    for record, verdict in zip(records, verdicts, strict=True):
        stored = versions.get(verdict.event_id) if isinstance(verdict, ValidEvent) else None
        if isinstance(verdict, Ignored) or (
            stored is None and isinstance(verdict, ValidEvent) and _older(verdict, bound)
        ):
            continue
        if stored is None:
            yield _discrepancy(DiscrepancyKind.MISSING, record, verdict.event_id)
        elif isinstance(verdict, ValidEvent) and not verdict.is_undated and parse_timestamp(verdict.timestamp) > stored:
            yield _discrepancy(DiscrepancyKind.OUTDATED, record, verdict.event_id)


def _without_document(verdict: ContractVerdict) -> ContractVerdict:
    """Keep only the end of a document, which says whether it is dated: a decode hook may make each a megabyte."""
    if isinstance(verdict, ValidEvent):
        verdict.document = verdict.document[-len(UNDATED) - 1 :]
    return verdict


def _older(event: ValidEvent, bound: datetime | None) -> bool:
    return bound is not None and parse_timestamp(event.timestamp) < bound


def _discrepancy(kind: DiscrepancyKind, record: Record, event_id: str | None) -> Discrepancy:
    return Discrepancy(kind, record.topic, record.partition, record.offset, event_id)
