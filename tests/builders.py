"""Builders with sane defaults: say only what the test is about."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from keepstream.processors.partition_queue import ONE_BATCH, Batch, PartitionQueue, TransactionLimit
from keepstream.processors.validation.validate import validate
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import Failure, Step, Verdict
from keepstream.schemas.record import KafkaRecord, Record

AT = "2026-11-24T10:00:00Z"
RECORD_TIMESTAMP_MS = 1_795_514_400_000
_numbers = itertools.count(1)


def make_value(**changes: Any) -> bytes:
    """A valid event as JSON; a change to `...` removes the field."""
    fields = {
        "event_id": f"e-{next(_numbers)}",
        "payload": {"amount": 1},
        "metadata": {"source": "test"},
        "timestamp": AT,
        "correlation_id": "c-1",
    } | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def make_record(
    value: bytes | None = b"?",
    offset: int = 0,
    *,
    topic: str = "events",
    partition: int = 0,
    key: bytes | None = b"k",
    timestamp: int = RECORD_TIMESTAMP_MS,
    headers: Sequence[tuple[str, bytes | None]] = (),
) -> KafkaRecord:
    """A record of partition events-0; without a value it carries a valid event."""
    value = make_value() if value == b"?" else value
    return KafkaRecord(topic, partition, offset, timestamp, key, value, headers)


def make_event(offset: int = 0, **changes: Any) -> ValidEvent:
    """A validated event."""
    verdict = validate(make_record(make_value(**changes), offset))
    assert isinstance(verdict, ValidEvent), verdict
    return verdict


def make_batch(records: Sequence[Record], start: int | None = None, limit: TransactionLimit = ONE_BATCH) -> Batch:
    """A batch at the head of its queue."""
    first = records[0]
    begin = first.offset if start is None else start
    queue = PartitionQueue(first.topic, first.partition, begin, 1, asyncio.Event(), limit=limit)
    fetched = queue.expect(records)
    assert fetched is not None
    queue.append(fetched)
    return queue.unsettled[0]


def make_failure(**changes: Any) -> Failure:
    fields: dict[str, Any] = {
        "step": Step.STORE, "verdict": Verdict.RECORD, "reason": "check_violation", "message": "no",
        "sqlstate": "23514",
    }  # fmt: skip
    return Failure(**(fields | changes))


def make_dead_letter(record: Record | None = None, **changes: Any) -> DeadLetter:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    fields: dict[str, Any] = {
        "record": record or make_record(),
        "failure": make_failure(),
        "first_failed_at": now,
        "last_failed_at": now,
    }
    return DeadLetter(**(fields | changes))
