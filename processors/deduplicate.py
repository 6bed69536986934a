"""Repeats of an event inside one batch: what a store would say if it met them one by one.

PostgreSQL refuses one upsert that hits a row twice (SQLSTATE 21000), so only the newest of each id travels.
"""

from __future__ import annotations

from collections.abc import Sequence

from keepstream.processors.validation.validate import moment
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.outcome import OutcomeCounts


def fold(events: Sequence[ValidEvent]) -> tuple[Sequence[ValidEvent], OutcomeCounts]:
    """Keep the newest of each event_id, count the others as duplicate or stale. Order is kept."""
    newest: dict[str, ValidEvent] = {event.event_id: event for event in events}
    if len(newest) == len(events):
        return events, OutcomeCounts()
    newest.clear()
    tally = OutcomeCounts()
    for event in events:
        rival = newest.setdefault(event.event_id, event)
        if rival is event:
            continue
        if moment(event.timestamp) < moment(rival.timestamp):
            tally.stale += 1
        else:
            tally.duplicate += 1
            if not _is_sent_again(event, rival):
                newest[event.event_id] = event
    return list(newest.values()), tally


def _is_sent_again(event: ValidEvent, earlier: ValidEvent) -> bool:
    """Say whether it is the same byte for byte: without a timestamp of its own it only seems newer."""
    again, first = event.record, earlier.record
    return again.value == first.value and list(again.headers) == list(first.headers)
