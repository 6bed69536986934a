"""Lists dead letters, newest first, by an index scan and a scan of the topic that are merged.

PostgreSQL knows the time, cause and record id of each dead letter that a worker upon it wrote; these are fetched from
the topic by offset. Dead letters without a row are only in the topic: those of other systems, from before migration 8
or imported into another database. They are found by reading what lies outside of blocks that rows name completely.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from keepstream.app.dlq.coverage import NEWEST, NONE, clip, subtract
from keepstream.app.dlq.lookup_by_offset import (
    NamedIds,
    OffsetReader,
    StaleRecordIdError,
    fetch_by_id,
    open_offset_reader,
)
from keepstream.app.dlq.selectors import DeadLetterQuery
from keepstream.app.dlq.topic import DeadLetterTopic, Listed
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import parse_record_id
from keepstream.sinks.kafka.admin import Range
from keepstream.sinks.kafka.dead_letter_reader import newest_first
from keepstream.sinks.postgres.dead_letters import DeadLetterKey

BUDGET_S = 1.0
"""Time that a page searches, from the first record on, before it returns what it has and where to go on."""
_FIRST_BATCH, _MAX_BATCH = 50, 400
_SHORT = 1000
"""So many records are read with the consumer of the index scan: another one takes longer to connect."""
_LOWEST_ID = "-0-0"
"""Sorts before the ids of all dead letters that failed at the same time."""
_IDS_NOT_KNOWN = "PostgreSQL does not know all of these ids; reading the whole topic"
_NOT_KNOWN = "the rows in PostgreSQL name other records; reading the whole topic"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Position in a list. ``ends``: partition -> offset below which the topic scan goes on.

    ``before``: the index scan goes on behind it. ``topic_only``: there is no index scan.
    """

    ends: Mapping[int, int] = field(default_factory=dict)
    before: DeadLetterKey | None = None
    topic_only: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """``missing``: so many matches are known to PostgreSQL and were deleted from the topic.

    ``back_to``: time of failure of the last record that was searched.
    """

    found: Sequence[Listed]
    following: Cursor
    exhausted: bool
    missing: int
    back_to: datetime | None


class _Step(NamedTuple):
    """A record that a scan passed; ``listed`` if it matches. ``record`` is None where it is deleted."""

    failed_at: datetime
    listed: Listed | None
    record: DeadLetterRecord | None
    key: DeadLetterKey | None = None
    """Of the index scan."""


def list_page(
    topic: DeadLetterTopic, query: DeadLetterQuery, size: int, start: Cursor | None = None, budget_s: float = BUDGET_S
) -> Page:
    """Return the next ``size`` dead letters from ``start`` on, or fewer when the budget was used up.

    Where rows name records that are not theirs, the list begins again, from the topic alone.
    """
    try:
        return _page(topic, query, size, start or Cursor(), budget_s)
    except StaleRecordIdError:
        topic.notify(_NOT_KNOWN)
        return _page(topic, query, size, Cursor(topic_only=True), budget_s)


def list_all(topic: DeadLetterTopic, query: DeadLetterQuery) -> Iterator[Listed]:
    """Yield all that match, newest first. Raises `KeepstreamError` (3) for an id that was not found."""
    listed: set[str] = set()
    named = NamedIds(query.selection.ids)
    with open_offset_reader(topic.client, topic.name) as reader:
        bounds = reader.watermarks()
        try:
            yield from _new(topic, _steps(topic, query, Cursor(), reader, bounds), listed, named)
        except StaleRecordIdError:
            topic.notify(_IDS_NOT_KNOWN if query.selection.ids else _NOT_KNOWN)
            yield from _new(topic, _steps(topic, query, Cursor(topic_only=True), reader, bounds), listed, named)
    named.check()


def _new(topic: DeadLetterTopic, steps: Generator[_Step], listed: set[str], named: NamedIds) -> Iterator[Listed]:
    with closing(steps):
        for step in steps:
            if step.listed and step.listed[0].id not in listed:
                listed.add(step.listed[0].id)
                yield step.listed
            for name in named.find(step.record) if step.record else ():
                if not step.listed:
                    topic.notify(f"{name} is not listed: it is resolved, or another selector leaves it out")


def _page(topic: DeadLetterTopic, query: DeadLetterQuery, size: int, start: Cursor, budget_s: float) -> Page:
    found: dict[str, Listed] = {}
    before, missing, back_to, exhausted, deadline = start.before, 0, None, True, 0.0
    with open_offset_reader(topic.client, topic.name) as reader:
        bounds = reader.watermarks()
        # What arrives from now on belongs to no later page.
        ends = {p: min(high, start.ends.get(p, high)) for p, (_, high) in bounds.items()}
        with closing(_steps(topic, query, replace(start, ends=ends), reader, bounds)) as steps:
            for step in steps:
                deadline = deadline or time.monotonic() + budget_s
                back_to = step.failed_at
                if step.key:
                    before = step.key
                    missing += step.record is None
                elif step.record:
                    ends[step.record.record.partition] = step.record.record.offset
                if step.listed:
                    found.setdefault(step.listed[0].id, step.listed)
                if len(found) == size or time.monotonic() >= deadline:
                    exhausted = False
                    break
    if back_to and not before:
        before = DeadLetterKey(back_to + timedelta(milliseconds=1), _LOWEST_ID)
    return Page([*found.values()], Cursor(ends, before, start.topic_only), exhausted, missing, back_to)


def _steps(
    topic: DeadLetterTopic, query: DeadLetterQuery, start: Cursor, reader: OffsetReader, bounds: Mapping[int, Range]
) -> Generator[_Step]:
    if query.selection.ids and not start.topic_only:
        yield from _fetch(topic, query, start, reader)
        return
    # The topic first: what is written meanwhile is found by both and listed once, instead of by neither.
    scans = [_topic_scan(topic, query, start, reader, bounds)]
    if topic.index and not start.topic_only:
        scans.append(_index_scan(topic, query, start, reader))
    with ExitStack() as stack:
        for scan in scans:
            stack.enter_context(closing(scan))
        yield from heapq.merge(*scans, key=lambda step: step.failed_at, reverse=True)


def _fetch(topic: DeadLetterTopic, query: DeadLetterQuery, start: Cursor, reader: OffsetReader) -> Iterator[_Step]:
    known = topic.index.record_ids if topic.index else lambda _ids: {}
    found = fetch_by_id(reader, query.selection.ids, known)
    listed = {one[0].record_id: one for one in topic.select(found, query)}
    keys = {DeadLetterKey(one.failed_at, one.record_id): one for one in found}
    for key in sorted(keys, reverse=True):
        if start.before is None or key < start.before:
            yield _Step(key.failed_at, listed.get(key.id), keys[key], key)


def _index_scan(
    topic: DeadLetterTopic, query: DeadLetterQuery, start: Cursor, reader: OffsetReader
) -> Generator[_Step]:
    assert topic.index is not None  # noqa: S101 - else there is no such scan
    selection, before, size = asdict(query.selection), start.before or NEWEST, _FIRST_BATCH
    while keys := topic.index.find(topic.name, selection, before, size, resolved_too=query.resolved_too):
        # A prefix of the topic's name is not the topic.
        here = {key.id: key.record_id for key in keys if parse_record_id(key.record_id or "")[0] == topic.name}
        records = reader.fetch(here)
        listed = {one[0].id: one for one in topic.select(filter(None, records.values()), query)}
        for key in keys:
            if key.id in here:
                yield _Step(key.failed_at, listed.get(key.id), records[key.id], key)
        before, size = keys[-1], min(size * 2, _MAX_BATCH)


def _topic_scan(
    topic: DeadLetterTopic, query: DeadLetterQuery, start: Cursor, reader: OffsetReader, bounds: Mapping[int, Range]
) -> Generator[_Step]:
    below = {p: (low, max(low, min(high, start.ends.get(p, high)))) for p, (low, high) in bounds.items()}
    selected = clip(below, query.selection)
    merged = topic.index is not None and not start.topic_only
    ranges = (
        topic.coverage.uncovered(topic.index, reader, selected) if topic.index and merged else subtract(selected, NONE)
    )

    def in_index(record_id: str | None) -> bool:
        name, partition, offset = parse_record_id(record_id or "")
        low, high = bounds.get(-1 if partition is None else partition, (0, 0))
        return merged and name == topic.name and low <= (offset or 0) < high

    size = _FIRST_BATCH
    short = sum(end - start for parts in ranges.values() for start, end in parts) <= _SHORT
    with closing(newest_first(topic.client, topic.name, ranges, reader.reader if short else None)) as records:
        while batch := list(islice(records, size)):
            listed = {one[0].record_id: one for one in topic.select(batch, query, in_index)}
            yield from (_Step(one.failed_at, listed.get(one.record_id), one) for one in batch)
            size = min(size * 2, _MAX_BATCH)
