"""The table of events, as `keepstream.processors.ports.EventStore`."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import psycopg
from psycopg.types.numeric import Int4, Int8
from psycopg_pool import PoolClosed, PoolTimeout

from keepstream.schemas.dead_letter import DeadLetter, capped
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import FencedError, Step
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Settlement, StoreResult
from keepstream.sinks.postgres.connection import JsonDocument, Pool
from keepstream.sinks.postgres.errors import connect_failure, step_error
from keepstream.sinks.postgres.statements import buried, statement


def ledger_document(letters: Sequence[DeadLetter]) -> JsonDocument:
    """Return one JSON array; texts are capped and free of NUL, which headers may hold and jsonb may not."""
    return JsonDocument(json.dumps([_row(letter) for letter in letters]).encode())


def _row(letter: DeadLetter) -> dict[str, Any]:
    record, failure = letter.record, letter.failure
    return {
        "topic": record.topic,
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
        "place": letter.place,
    }


def _clean(text: str | None) -> str | None:
    return None if text is None else capped(text).decode().replace("\0", "\ufffd")


Connection = psycopg.AsyncConnection[tuple[Any, ...]]

SETTLE, SETTLE_AND_BURY = statement("settle", buried=""), statement("settle", buried=buried("replaced"))
STORE = statement("store")
COUNT, COUNT_AND_BURY = statement("count", buried=""), statement("count", buried=buried("moved"))
PROBE = statement("probe")
_EVENT_ID = attrgetter("event_id")


@dataclass(frozen=True, slots=True)
class PostgresStore:
    """Each method is one transaction, and translates what the driver raises into our three verdicts."""

    pool: Pool

    async def settle(self, settlement: Settlement) -> OutcomeCounts:
        """Write everything about a batch in one transaction; raise FencedError when the partition moved on."""
        async with self._connection(Step.STORE) as connection:
            return await _settle(connection, settlement)

    async def store(self, span: BatchRange, events: Sequence[ValidEvent]) -> StoreResult:
        """Upsert rows as pending; ids are unique within the call."""
        parameters = {**_place(span), "documents": _documents(events)}
        async with self._connection(Step.STORE) as connection:
            row = await _one(connection, STORE, parameters)
        fenced_in, pending_ids, duplicate, stale, updated, server_run, *_ = row
        _check_fence(span, fenced_in)
        return StoreResult(
            pending_ids or (), OutcomeCounts(duplicate=duplicate, stale=stale, updated=updated), server_run
        )

    async def count(self, settlement: Settlement, stored: StoreResult) -> OutcomeCounts:
        """Move pending rows to delivered, with counters, dead letters and the offset."""
        span, repeats = settlement.span, stored.repeats
        parameters = {
            **_place(span),
            **_moves(span),
            "pending_ids": list(stored.pending_ids),
            "server_run": stored.server_run,
            "duplicate": Int8(repeats.duplicate),
            "stale": Int8(repeats.stale),
            "updated": Int8(repeats.updated),
            **_letters(settlement),
        }
        query = COUNT_AND_BURY if settlement.dead else COUNT
        async with self._connection(Step.METRICS) as connection:
            fenced_in, delivered, duplicate = await _one(connection, query, parameters)
        _check_fence(span, fenced_in)
        return OutcomeCounts(delivered, duplicate, repeats.stale, len(settlement.dead), repeats.updated)

    async def healthy(self) -> bool:
        """Write a harmless event and roll it back."""
        try:
            async with (
                self._connection(Step.STORE) as connection,
                connection.transaction(force_rollback=True),
            ):
                await connection.execute(PROBE, {"event_id": f"keepstream-probe-{uuid.uuid4()}"})
        except Exception:  # noqa: BLE001 - any failure is the answer "no"
            return False
        return True

    @asynccontextmanager
    async def _connection(self, step: Step) -> AsyncIterator[Connection]:
        try:
            connection = await self.pool.getconn()
        except (PoolTimeout, PoolClosed, psycopg.OperationalError) as error:
            raise connect_failure(error, step) from None
        try:
            yield connection
        except psycopg.Error as error:
            raise step_error(error, step) from error
        finally:
            await self.pool.putconn(connection)


async def _settle(connection: Connection, settlement: Settlement) -> OutcomeCounts:
    span, folded = settlement.span, settlement.tally
    parameters = {
        **_place(span),
        **_moves(span),
        "documents": _documents(settlement.events),
        "folded": Int8(folded.duplicate),
        "folded_stale": Int8(folded.stale),
        **_letters(settlement),
    }
    query = SETTLE_AND_BURY if settlement.dead else SETTLE
    fenced_in, delivered, duplicate, stale, updated, _ = await _one(connection, query, parameters)
    _check_fence(span, fenced_in)
    return OutcomeCounts(delivered, duplicate + folded.duplicate, stale + folded.stale, len(settlement.dead), updated)


async def _one(connection: Connection, query: Any, parameters: dict[str, Any]) -> tuple[Any, ...]:  # noqa: ANN401
    row = await (await connection.execute(query, parameters)).fetchone()
    if row is None:
        raise psycopg.DataError("a statement that always returns a row returned none")
    return row


def _place(span: BatchRange) -> dict[str, Any]:
    """Name the place with fixed integer widths: each width would be prepared as a statement of its own."""
    return {
        "topic": span.topic,
        "partition": Int4(span.partition),
        "expected_offset": Int8(span.expected_offset),
    }


def _letters(settlement: Settlement) -> dict[str, Any]:
    burial = {"letters": ledger_document(settlement.dead)} if settlement.dead else {}
    return {"dead": Int8(len(settlement.dead)), **burial}


def _moves(span: BatchRange) -> dict[str, Any]:
    return {"next_offset": Int8(span.next_offset), "records": Int8(span.records)}


def _documents(events: Sequence[ValidEvent]) -> JsonDocument:
    """Join them in the order of their ids: code points sort as the bytes of UTF-8 do, and as ``COLLATE "C"``."""
    return JsonDocument(b"[%b]" % b",".join([event.document for event in sorted(events, key=_EVENT_ID)]))


def _check_fence(span: BatchRange, fenced_in: int) -> None:
    if not fenced_in:
        raise FencedError(span.topic, span.partition, span.expected_offset)
