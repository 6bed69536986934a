"""What an audit concludes, from accounts and records of our making."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.processors.audit import OffsetCoverage, check_accounts, find_discrepancies
from keepstream.processors.validation.timestamps import parse_timestamp
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.audit import AuditWindow, DiscrepancyKind, PartitionAccount
from tests.builders import RECORD_TIMESTAMP_MS, make_record, make_value

ACCOUNT = PartitionAccount(
    topic="events", partition=3, first_offset=10, next_offset=115, consumed=100, skipped=5, rewound=False, total=100,
    delivered=90, duplicate=5, stale=1, ignored=1, dead_lettered=3, dead_letters=3, rows=90, behind=0, ahead=0,
)  # fmt: skip


def broken(*accounts: PartitionAccount) -> list[str]:
    return [check.claim for check in check_accounts(accounts) if not check.holds]


def test_accounts_that_agree_hold() -> None:
    assert broken(ACCOUNT, replace(ACCOUNT, partition=4)) == []
    assert broken() == []


@pytest.mark.parametrize(
    ("change", "claims"),
    [
        ({"consumed": 101}, 3),
        ({"skipped": 4}, 1),
        ({"next_offset": 116}, 1),
        ({"total": 99}, 1),
        ({"delivered": 91}, 2),
        ({"duplicate": 6}, 1),
        ({"stale": 2}, 1),
        ({"ignored": 0}, 1),
        ({"dead_lettered": 4}, 2),
        ({"dead_letters": 2}, 1),
        ({"rows": 89}, 1),
        ({"behind": 1}, 1),
        ({"ahead": 1}, 1),
    ],
)
def test_each_number_is_held_against_another(change: dict[str, int], claims: int) -> None:
    assert len(broken(replace(ACCOUNT, **change))) == claims  # type: ignore[arg-type]


def test_an_event_that_moved_to_another_partition_is_no_difference() -> None:
    assert broken(replace(ACCOUNT, rows=89), replace(ACCOUNT, partition=4, rows=91)) == []


def test_a_re_created_topic_has_no_offsets_to_compare() -> None:
    assert broken(replace(ACCOUNT, rewound=True, ahead=7, dead_letters=2)) == []


def test_only_what_the_topic_still_holds_is_read() -> None:
    assert AuditWindow(0, 5, 20, log_start=8).reads == (8, 20)
    assert AuditWindow(0, 5, 20, log_start=0).reads == (5, 20)


PLACES = st.sets(st.tuples(st.integers(0, 2), st.integers(0, 30)))


@given(PLACES, PLACES, st.integers(1, 5))
def test_offset_ranges_cover_exactly_their_offsets(
    places: set[tuple[int, int]], records: set[tuple[int, int]], batch_size: int
) -> None:
    accounted, found = OffsetCoverage(offset_ranges(places)), set()
    for partition in range(3):
        offsets = sorted(offset for p, offset in records if p == partition)
        for start in range(0, len(offsets), batch_size):
            batch = offsets[start : start + batch_size]
            found |= {(partition, batch[i]) for i in accounted.uncovered(partition, batch)}
    assert found == records - places


def offset_ranges(places: set[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    for partition, first in sorted(places):
        if (partition, first - 1) not in places:
            last = first
            while (partition, last + 1) in places:
                last += 1
            yield partition, first, last


@dataclass
class StoreResult:
    """An archive in memory. ``asked`` remembers every id."""

    timestamps: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    pruned: str | None = None

    def pruned_before(self) -> datetime | None:
        return parse_timestamp(self.pruned) if self.pruned else None

    def versions(self, event_ids: Sequence[str]) -> dict[str, datetime]:
        self.asked += event_ids
        return {
            event_id: parse_timestamp(self.timestamps[event_id])
            for event_id in event_ids
            if event_id in self.timestamps
        }


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (make_value(event_id="a"), None),
        (make_value(event_id="a", timestamp="2026-11-24T09:59:59Z"), None),
        (make_value(event_id="a", timestamp="2026-11-24T12:00:00.000+02:00"), None),
        (make_value(event_id="a", timestamp="2026-11-24T10:00:00.000001Z"), DiscrepancyKind.OUTDATED),
        (make_value(event_id="b"), DiscrepancyKind.MISSING),
        (make_value(event_id="a", payload=...), DiscrepancyKind.MISSING),
        (make_value(event_id="a\0"), DiscrepancyKind.MISSING),
        (b"broken", DiscrepancyKind.MISSING),
        (None, DiscrepancyKind.MISSING),
    ],
)
def test_a_record_is_as_good_as_the_same_or_a_newer_version(value: bytes | None, fault: DiscrepancyKind | None) -> None:
    archive = StoreResult({"a": "2026-11-24T10:00:00Z"})
    found = [*find_discrepancies(Validator(), [make_record(value, 7, partition=2)], archive)]
    assert [(f.kind, f.topic, f.partition, f.offset) for f in found] == ([(fault, "events", 2, 7)] if fault else [])
    assert not any("\0" in event_id for event_id in archive.asked)


def test_without_a_timestamp_of_its_own_a_record_sent_again_is_no_newer_version() -> None:
    record = make_record(make_value(event_id="a", timestamp=...), timestamp=RECORD_TIMESTAMP_MS + 5000)
    assert [*find_discrepancies(Validator(), [record], StoreResult({"a": "2026-11-24T10:00:00Z"}))] == []
    assert [found.kind for found in find_discrepancies(Validator(), [record], StoreResult())] == [
        DiscrepancyKind.MISSING
    ]


def test_an_event_in_the_headers_is_known_by_them() -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"a"), ("ce_time", b"2026-11-24T10:00:00Z")]
    record = make_record(b'{"amount":1}', headers=headers)
    assert [*find_discrepancies(Validator(), [record], StoreResult({"a": "2026-11-24T10:00:00Z"}))] == []
    (found,) = find_discrepancies(Validator(), [record], StoreResult())
    assert (found.kind, found.event_id) == (DiscrepancyKind.MISSING, "a")


@pytest.mark.parametrize(("timestamp", "missing"), [("2026-11-24T09:59:59Z", False), ("2026-11-24T10:00:00Z", True)])
def test_an_event_that_is_old_enough_to_have_been_pruned_is_not_missing(timestamp: str, *, missing: bool) -> None:
    record = make_record(make_value(event_id="b", timestamp=timestamp))
    assert bool([*find_discrepancies(Validator(), [record], StoreResult(pruned="2026-11-24T10:00:00Z"))]) is missing


def test_what_was_pruned_is_no_proof_that_what_is_broken_or_outdated_was_stored() -> None:
    archive = StoreResult({"a": "2026-11-24T09:00:00Z"}, pruned="2026-11-24T10:00:00Z")
    records = [make_record(b"broken"), make_record(make_value(event_id="a", timestamp="2026-11-24T09:30:00Z"))]
    found = find_discrepancies(Validator(), records, archive)
    assert [one.kind for one in found] == [DiscrepancyKind.MISSING, DiscrepancyKind.OUTDATED]


def test_rows_that_were_pruned_count_as_rows() -> None:
    assert broken(replace(ACCOUNT, rows=60, pruned=30)) == []
    assert broken(replace(ACCOUNT, rows=60, pruned=29)) == ["delivered = rows in events + pruned"]
