"""Hostile records through the pipeline into a real PostgreSQL: nothing that validate accepts fails in SQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pytest

from keepstream.app.testing.memory import MemoryDeadLetters, RecordedMetrics
from keepstream.processors.batch_part import rejected
from keepstream.processors.outbox import OutboxPublisher
from keepstream.processors.pause import Pause
from keepstream.processors.pipeline import Pipeline, Policies
from keepstream.processors.ports import EventStore
from keepstream.processors.validation.timestamps import parse_timestamp
from keepstream.processors.validation.validate import validate
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import Rejection, ValidEvent
from keepstream.schemas.failure import Step
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Settlement
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.postgres.outbox import PostgresOutbox
from tests.builders import make_batch, make_record
from tests.contract.store_fixtures import PostgresTable, postgres_table
from tests.malicious_input.records import hostile_records
from tests.malicious_input.resource_exhaustion import bombs
from tests.real import Database
from tests.unit.pipeline_fixture import QUICK, too_slow

pytestmark = pytest.mark.real


@dataclass
class StepByStep:
    """A store whose fast path is always disturbed."""

    store_: EventStore

    async def settle(self, settlement: Settlement) -> OutcomeCounts:
        if settlement.events:
            raise too_slow()
        return await self.store_.settle(settlement)

    async def settle_by_steps(
        self, offset_range: BatchRange, event: ValidEvent, done: Callable[[Step], None] = lambda _step: None
    ) -> OutcomeCounts:
        return await self.store_.settle_by_steps(offset_range, event, done)

    async def healthy(self) -> bool:
        return await self.store_.healthy()


def everything() -> list[KafkaRecord]:
    """Return the hostile records, with small bombs among them."""
    records = [*hostile_records(), *map(make_record, bombs(50_000).values())]
    return [replace(record, offset=offset) for offset, record in enumerate(records)]


def newest(events: Sequence[ValidEvent]) -> dict[str, datetime]:
    """Return the winner's moment of each event_id."""
    winners: dict[str, datetime] = {}
    for event in events:
        when = parse_timestamp(event.timestamp)
        winners[event.event_id] = max(winners.get(event.event_id, when), when)
    return winners


@pytest.mark.parametrize("path", ["fast", "step by step"])
async def test_every_record_has_the_verdict_that_validate_gives_it_alone(database: Database, path: str) -> None:
    records = everything()[:: 1 if path == "fast" else 9]
    records = [replace(record, offset=offset) for offset, record in enumerate(records)]
    async with postgres_table(database) as table:
        await table.open(0, 0)
        await check(table, StepByStep(table.store) if path == "step by step" else table.store, records)


async def check(table: PostgresTable, store: EventStore, records: Sequence[KafkaRecord]) -> None:
    verdicts = [validate(record) for record in records]
    letters, metrics = MemoryDeadLetters(), RecordedMetrics()
    pause = Pause(metrics)
    outbox = OutboxPublisher(PostgresOutbox(table.store.pool), letters, metrics, pause)
    pipeline = Pipeline(store, outbox, metrics, pause, Policies(QUICK, QUICK))
    tally = OutcomeCounts()
    for begin in range(0, len(records), 100):
        tally += await pipeline.process(make_batch(records[begin : begin + 100]))

    expected = {v.record.offset: v for v in verdicts if isinstance(v, ValidEvent)}
    refused = {r.offset: v for r, v in zip(records, verdicts, strict=True) if isinstance(v, Rejection)}
    assert {letter.failure.step for letter in letters.published} == {Step.VALIDATE}
    causes = {letter.record.offset: letter.failure.reason for letter in letters.published}
    assert causes == {offset: rejection.reason for offset, rejection in refused.items()}
    assert (tally.total, tally.dead_lettered) == (len(records), len(refused))
    assert table.next_offset() == len(records)
    assert table.totals()["total"] == len(records)
    assert table.letters() == {f"events-0-{offset}" for offset in refused}
    stored = {row[0]: row[1] for row in table.read("SELECT event_id, created_at FROM events")}
    assert stored == newest([*expected.values()])
    check_ledger(table, [rejected(records[offset], rejection) for offset, rejection in sorted(refused.items())])


def check_ledger(table: PostgresTable, decided: Sequence[DeadLetter]) -> None:
    """Hold the ledger's rows against what was decided: NUL is replaced, nothing else is."""
    query = 'SELECT "offset", reason, event_id, correlation_id, replay_count FROM dead_letters ORDER BY "offset"'
    for row, letter in zip(table.read(query), decided, strict=True):
        texts = [text and text.encode()[:1024].decode(errors="ignore").replace("\0", "\ufffd")
                 for text in (letter.event_id, letter.correlation_id)]  # fmt: skip
        assert row == (letter.record.offset, letter.failure.reason, *texts, letter.replay_count)


def test_the_hostile_records_hold_what_they_promise() -> None:
    """Whoever edits them must not make the suite empty by accident."""
    verdicts = [validate(record) for record in everything()]
    reasons = {v.reason for v in verdicts if isinstance(v, Rejection)}
    assert reasons == {
        "tombstone", "empty_value", "invalid_utf8", "invalid_json", "not_an_object", "missing_field", "invalid_field",
        "invalid_timestamp", "lone_surrogate", "nul_character", "not_finite_number", "number_out_of_range", "too_deep",
    }  # fmt: skip
    assert len(verdicts) > 4000
    assert sum(isinstance(v, ValidEvent) for v in verdicts) > 2000
    assert len(list(itertools.chain.from_iterable(r.headers for r in everything()))) > 5000
