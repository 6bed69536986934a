"""The table of events, as `keepstream.processors.ports.EventStore`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import psycopg
from psycopg.types.numeric import Int4, Int8
from pydantic_core import to_json

from keepstream.schemas.dead_letter import DeadLetter, truncate_utf8
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import FencedError, RecordError, Step, StepError
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Settlement
from keepstream.sinks.postgres.connection import JsonDocument, Pool
from keepstream.sinks.postgres.errors import raced, step_connection, step_error, suppressed
from keepstream.sinks.postgres.outbox import pack
from keepstream.sinks.postgres.statements import statement

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

SETTLE, SETTLE_WITH_DEAD_LETTERS = statement("settle", insert_dead_letters=""), statement("settle")
SETTLE_DEAD_LETTERS = statement("settle_dead_letters")
STORE, STORE_UNSEEN, COUNT = map(statement, ("store", "store_unseen", "count"))
PROBE = statement("probe")
_EVENT_ID = attrgetter("event_id")


@dataclass(frozen=True, slots=True)
class PostgresStore:
    """Writes a batch in one transaction. Raises StepError with a verdict for each error of the driver."""

    pool: Pool

    async def settle(self, settlement: Settlement) -> OutcomeCounts:
        """Write events, dead letters, counters and the offset; raise FencedError when the partition was moved."""
        async with step_connection(self.pool, Step.STORE) as connection:
            if settlement.dead_letters and not settlement.events:
                return await _settle_dead_letters(connection, settlement)
            return await _settle(connection, settlement)

    async def settle_by_steps(
        self, offset_range: BatchRange, event: ValidEvent, done: Callable[[Step], None] = lambda _step: None
    ) -> OutcomeCounts:
        """Store a single row as pending, then deliver and count it, in one transaction."""
        async with step_connection(self.pool, Step.STORE) as connection, connection.transaction():
            counts = await _store(connection, offset_range, event)
            done(Step.STORE)
            try:
                await _count(connection, offset_range, event, counts)
            except psycopg.Error as error:
                raise step_error(error, Step.METRICS) from error
            done(Step.METRICS)
        return counts

    async def healthy(self) -> bool:
        """Return whether a harmless event can be inserted, and roll it back."""
        try:
            async with (
                step_connection(self.pool, Step.STORE) as connection,
                connection.transaction(force_rollback=True),
            ):
                await connection.execute(PROBE, {"event_id": f"keepstream-probe-{uuid.uuid4()}"})
        except RecordError:  # a constraint on payloads: PostgreSQL itself works
            return True
        except StepError:
            return False
        return True


async def _settle(connection: Connection, settlement: Settlement) -> OutcomeCounts:
    offset_range, decided = settlement.offset_range, settlement.counts
    parameters = {
        **_range_parameters(offset_range),
        "events": _documents(settlement.events),
        "incoming": Int8(len(settlement.events)),
        "duplicates": Int8(decided.duplicate),
        "stale": Int8(decided.stale),
        "ignored": Int8(decided.ignored),
        **_dead_letter_parameters(settlement),
    }
    dead = len(settlement.dead_letters)
    row = await _fetch_row(connection, SETTLE_WITH_DEAD_LETTERS if dead else SETTLE, parameters)
    fenced, delivered, duplicate, stale, updated, _ = row
    _check_fence(offset_range, fenced)
    return OutcomeCounts(
        delivered, duplicate + decided.duplicate, stale + decided.stale, dead, updated, decided.ignored
    )


async def _settle_dead_letters(connection: Connection, settlement: Settlement) -> OutcomeCounts:
    ignored = settlement.counts.ignored
    parameters = {
        **_range_parameters(settlement.offset_range),
        "ignored": Int8(ignored),
        **_dead_letter_parameters(settlement),
    }
    (fenced_in,) = await _fetch_row(connection, SETTLE_DEAD_LETTERS, parameters)
    _check_fence(settlement.offset_range, fenced_in)
    return OutcomeCounts(dead_lettered=len(settlement.dead_letters), ignored=ignored)


async def _store(connection: Connection, offset_range: BatchRange, event: ValidEvent) -> OutcomeCounts:
    """Return what the row counts as. Raises RecordError when a trigger suppressed it."""
    row = await _fetch_row(connection, STORE, {**_range_parameters(offset_range), "events": _documents([event])})
    fenced_in, pending, stale, updated, accounted_for, seen = row
    _check_fence(offset_range, fenced_in)
    if not accounted_for:
        now = await (await connection.execute(STORE_UNSEEN, {"event_id": event.event_id})).fetchone()
        raise suppressed(Step.STORE) if seen == (now[0] if now else None) else raced(Step.STORE)
    return OutcomeCounts(pending, 1 - pending - stale, stale, updated=updated)


async def _count(connection: Connection, offset_range: BatchRange, event: ValidEvent, counts: OutcomeCounts) -> None:
    numbers = {name: Int8(getattr(counts, name)) for name in ("delivered", "duplicate", "stale", "updated")}
    parameters = {**_range_parameters(offset_range), **numbers, "event_id": event.event_id}
    fenced_in, delivered = await _fetch_row(connection, COUNT, parameters)
    _check_fence(offset_range, fenced_in)
    if delivered != counts.delivered:
        raise suppressed(Step.METRICS)


async def _fetch_row(connection: Connection, query: Any, parameters: dict[str, Any]) -> tuple[Any, ...]:  # noqa: ANN401
    row = await (await connection.execute(query, parameters)).fetchone()
    if row is None:
        raise psycopg.DataError("a statement that always returns a row returned none")
    return row


def _range_parameters(offset_range: BatchRange) -> dict[str, Any]:
    """Return parameters of fixed integer widths: each width would be prepared as a statement of its own."""
    return {
        "topic": offset_range.topic,
        "partition": Int4(offset_range.partition),
        "begin": Int8(offset_range.expected_offset),
        "end": Int8(offset_range.next_offset),
        "records": Int8(offset_range.records),
        "incarnation": Int4(offset_range.incarnation),
        "topic_id": offset_range.topic_id,
    }


def _dead_letter_parameters(settlement: Settlement) -> dict[str, Any]:
    dead_letters = settlement.dead_letters
    if not dead_letters:
        return {"failed": Int8(0)}
    return {
        "failed": Int8(len(dead_letters)),
        "dead_letters": index_document(dead_letters),
        "id_topic": dead_letters[0].topic,
        "offsets": [Int8(record.offset) for record in settlement.outbox],
        "outbox": [pack(record) for record in settlement.outbox],
    }


def index_document(dead_letters: Sequence[DeadLetter]) -> JsonDocument:
    """Return the rows of the dead letter index as one JSON array."""
    return JsonDocument(to_json([_index_row(dead_letter) for dead_letter in dead_letters]))


def _index_row(dead_letter: DeadLetter) -> dict[str, Any]:
    record, failure = dead_letter.record, dead_letter.failure
    return {
        "topic": dead_letter.topic,
        "partition": record.partition,
        "offset": record.offset,
        "event_id": _clean(dead_letter.event_id),
        "correlation_id": _clean(dead_letter.correlation_id),
        "step": failure.step.value,
        "verdict": failure.verdict.value,
        "reason": failure.reason,
        "message": _clean(failure.message),
        "sqlstate": failure.sqlstate,
        "attempts": failure.attempts,
        "first_failed_at": dead_letter.first_failed_at.isoformat(),
        "last_failed_at": dead_letter.last_failed_at.isoformat(),
        "replay_count": dead_letter.replay_count,
    }


def _clean(text: str | None) -> str | None:
    """Truncate a text of a header and replace NUL, which headers may hold and jsonb may not."""
    return None if text is None else truncate_utf8(text).decode().replace("\0", "\ufffd")


def _documents(events: Sequence[ValidEvent]) -> JsonDocument:
    """Return the events as a JSON array, sorted by id: code points sort as UTF-8 and ``COLLATE "C"`` do."""
    return JsonDocument(b"[%b]" % b",".join([event.document for event in sorted(events, key=_EVENT_ID)]))


def _check_fence(offset_range: BatchRange, fenced_in: int) -> None:
    if not fenced_in:
        raise FencedError(offset_range.topic, offset_range.partition, offset_range.expected_offset)
