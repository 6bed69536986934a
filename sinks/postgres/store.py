"""The table of events, as `keepstream.processors.ports.EventStore`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import psycopg
from psycopg.types.numeric import Int4, Int8

from keepstream.schemas.dead_letter import DeadLetter, capped
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import FencedError, RecordError, Step, StepError
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Settlement
from keepstream.sinks.postgres.connection import JsonDocument, Pool
from keepstream.sinks.postgres.errors import raced, step_connection, step_error, suppressed
from keepstream.sinks.postgres.outbox import pack
from keepstream.sinks.postgres.statements import statement


def ledger_document(letters: Sequence[DeadLetter]) -> JsonDocument:
    """Return one JSON array; texts are capped and free of NUL, which headers may hold and jsonb may not."""
    return JsonDocument(json.dumps([_row(letter) for letter in letters]).encode())


def _row(letter: DeadLetter) -> dict[str, Any]:
    record, failure = letter.record, letter.failure
    return {
        "topic": letter.topic,
        "partition": record.partition,
        "offset": record.offset,
        "event_id": _clean(letter.event_id),
        "correlation_id": _clean(letter.correlation_id),
        "step": failure.step.value,
        "verdict": failure.verdict.value,
        "reason": failure.reason,
        "message": _clean(failure.message),
        "sqlstate": failure.sqlstate,
        "attempts": failure.attempts,
        "first_failed_at": letter.first_failed_at.isoformat(),
        "last_failed_at": letter.last_failed_at.isoformat(),
        "replay_count": letter.replay_count,
    }


def _clean(text: str | None) -> str | None:
    return None if text is None else capped(text).decode().replace("\0", "\ufffd")


Connection = psycopg.AsyncConnection[tuple[Any, ...]]

SETTLE, SETTLE_AND_BURY, BURY = statement("settle", buried=""), statement("settle"), statement("bury")
STORE, STORE_UNSEEN, COUNT = map(statement, ("store", "store_unseen", "count"))
PROBE = statement("probe")
_EVENT_ID = attrgetter("event_id")


@dataclass(frozen=True, slots=True)
class PostgresStore:
    """Each method is one transaction, and translates what the driver raises into our three verdicts."""

    pool: Pool

    async def settle(self, settlement: Settlement) -> OutcomeCounts:
        """Write everything about a batch in one transaction; raise FencedError when the partition moved on."""
        async with step_connection(self.pool, Step.STORE) as connection:
            return await _settle(connection, settlement)

    async def settle_by_steps(
        self, offset_range: BatchRange, event: ValidEvent, done: Callable[[Step], None] = lambda _step: None
    ) -> OutcomeCounts:
        """Store a single row as pending, then deliver and count it, in one transaction."""
        async with step_connection(self.pool, Step.STORE) as connection, connection.transaction():
            tally = await _store(connection, offset_range, event)
            done(Step.STORE)
            try:
                await _count(connection, offset_range, event, tally)
            except psycopg.Error as error:
                raise step_error(error, Step.METRICS) from error
            done(Step.METRICS)
        return tally

    async def healthy(self) -> bool:
        """Write a harmless event and roll it back."""
        try:
            async with (
                step_connection(self.pool, Step.STORE) as connection,
                connection.transaction(force_rollback=True),
            ):
                await connection.execute(PROBE, {"event_id": f"keepstream-probe-{uuid.uuid4()}"})
        except RecordError:  # a constraint on payloads: it is an answer
            return True
        except StepError:
            return False
        return True


async def _settle(connection: Connection, settlement: Settlement) -> OutcomeCounts:
    offset_range, folded = settlement.offset_range, settlement.tally
    if settlement.dead and not settlement.events:
        return await _bury(connection, settlement)
    parameters = {
        **_place(offset_range),
        **_moves(offset_range),
        "events": _documents(settlement.events),
        "folded": Int8(folded.duplicate),
        "older": Int8(folded.stale),
        **_letters(settlement),
    }
    query = SETTLE_AND_BURY if settlement.dead else SETTLE
    fenced, delivered, duplicate, stale, updated, _ = await _one(connection, query, parameters)
    _check_fence(offset_range, fenced)
    return OutcomeCounts(delivered, duplicate + folded.duplicate, stale + folded.stale, len(settlement.dead), updated)


async def _bury(connection: Connection, settlement: Settlement) -> OutcomeCounts:
    offset_range = settlement.offset_range
    (fenced_in,) = await _one(
        connection, BURY, {**_place(offset_range), **_moves(offset_range), **_letters(settlement)}
    )
    _check_fence(offset_range, fenced_in)
    return OutcomeCounts(dead_lettered=len(settlement.dead))


async def _store(connection: Connection, offset_range: BatchRange, event: ValidEvent) -> OutcomeCounts:
    """Return what the row counts as. Raises RecordError when a trigger took it away."""
    row = await _one(connection, STORE, {**_place(offset_range), "events": _documents([event])})
    fenced_in, pending, stale, updated, accounted_for, seen = row
    _check_fence(offset_range, fenced_in)
    if not accounted_for:
        now = await (await connection.execute(STORE_UNSEEN, {"event_id": event.event_id})).fetchone()
        raise suppressed(Step.STORE) if seen == (now[0] if now else None) else raced(Step.STORE)
    return OutcomeCounts(pending, 1 - pending - stale, stale, updated=updated)


async def _count(connection: Connection, offset_range: BatchRange, event: ValidEvent, tally: OutcomeCounts) -> None:
    counts = {name: Int8(getattr(tally, name)) for name in ("delivered", "duplicate", "stale", "updated")}
    fenced_in, delivered = await _one(
        connection, COUNT, {**_place(offset_range), **_moves(offset_range), **counts, "event_id": event.event_id}
    )
    _check_fence(offset_range, fenced_in)
    if delivered != tally.delivered:
        raise suppressed(Step.METRICS)


async def _one(connection: Connection, query: Any, parameters: dict[str, Any]) -> tuple[Any, ...]:  # noqa: ANN401
    row = await (await connection.execute(query, parameters)).fetchone()
    if row is None:
        raise psycopg.DataError("a statement that always returns a row returned none")
    return row


def _place(offset_range: BatchRange) -> dict[str, Any]:
    """Name the place with fixed integer widths: each width would be prepared as a statement of its own."""
    return {
        "topic": offset_range.topic,
        "partition": Int4(offset_range.partition),
        "begin": Int8(offset_range.expected_offset),
    }


def _letters(settlement: Settlement) -> dict[str, Any]:
    dead = settlement.dead
    if not dead:
        return {"dead": Int8(0)}
    return {
        "dead": Int8(len(dead)),
        "letters": ledger_document(dead),
        "ledger_topic": dead[0].topic,
        "offsets": [Int8(record.offset) for record in settlement.outbox],
        "outbox": [pack(record) for record in settlement.outbox],
    }


def _moves(offset_range: BatchRange) -> dict[str, Any]:
    return {"end": Int8(offset_range.next_offset), "records": Int8(offset_range.records)}


def _documents(events: Sequence[ValidEvent]) -> JsonDocument:
    """Join them in the order of their ids: code points sort as the bytes of UTF-8 do, and as ``COLLATE "C"``."""
    return JsonDocument(b"[%b]" % b",".join([event.document for event in sorted(events, key=_EVENT_ID)]))


def _check_fence(offset_range: BatchRange, fenced_in: int) -> None:
    if not fenced_in:
        raise FencedError(offset_range.topic, offset_range.partition, offset_range.expected_offset)
