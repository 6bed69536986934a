"""Test your contract, transforms, mapping and decode hook without servers: ``from keepstream.testing import process``.

`process` runs the worker's own pipeline over tables and a dead letter topic in memory.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from keepstream.app.config.mapping import MappingSettings
from keepstream.app.testing.memory import MemoryDeadLetters, MemoryStore, RecordedMetrics, refuse_content
from keepstream.processors.dead_letter_limit import DeadLetterLimit
from keepstream.processors.outbox import OutboxPublisher
from keepstream.processors.partition_queue import PartitionQueue
from keepstream.processors.pause import Pause
from keepstream.processors.pipeline import Pipeline, Policies
from keepstream.processors.retry import RetryPolicy
from keepstream.processors.validation.decoding import GZIP, Decoder, gunzip
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.event import Contract, Decode, Event, Transform, ValidEvent
from keepstream.schemas.record import KafkaRecord, Record

__all__ = ["Outcome", "process", "record"]

_TOPIC = "events"
_AT_ONCE = RetryPolicy(max_retries=0, base_s=0, cap_s=0, attempt_timeout_s=60, budget_s=60)
_FIELDS = ("event_id", "timestamp", "correlation_id", "payload", "metadata")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a record."""

    name: str
    """``delivered``, ``duplicate``, ``stale``, ``ignored`` or ``dead_lettered``."""
    event: Mapping[str, Any] | None = None
    """What is stored of the event, also by an earlier record; numbers with a fraction are `Decimal`."""
    step: str | None = None
    """Of a dead letter: the step that failed."""
    reason: str | None = None
    """Of a dead letter: its reason."""
    message: str | None = None
    """Of a dead letter: the error's text."""


def record(
    value: object, *, key: str | None = None, headers: Mapping[str, str] | None = None, timestamp_ms: int | None = None
) -> KafkaRecord:
    """Build a record. What is neither bytes nor None is written as JSON; the timestamp is now unless given."""
    written = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    pairs = [(name, text.encode()) for name, text in (headers or {}).items()]
    at_ms = int(time.time() * 1000) if timestamp_ms is None else timestamp_ms
    return KafkaRecord(_TOPIC, 0, 0, at_ms, None if key is None else key.encode(), written, pairs)


def process(
    records: Sequence[Record],
    *,
    contract: type[Contract | Event] = Event,
    steps: Sequence[Transform] = (),
    mapping: Mapping[str, Any] | None = None,
    decode: Decode | str | None = None,
) -> list[Outcome]:
    """Process records one by one, from an empty table, and return their outcomes. Settings are not read.

    ``mapping`` is the content of ``[keepstream.mapping]``; ``decode`` is a function, or ``"gzip"``. Raises ValueError
    for what the settings would refuse.
    """
    given = MappingSettings(**(mapping or {}))
    validator = Validator(
        contract, _named(steps), given.compile(), _decoder(decode), given.tombstone(), given.ignores()
    )
    return asyncio.run(_Run(validator).outcomes(records))


def _named(steps: Sequence[Transform]) -> dict[str, Transform]:
    return {f"{getattr(step, '__name__', 'step')} ({number})": step for number, step in enumerate(steps, 1)}


def _decoder(decode: Decode | str | None) -> Decoder | None:
    if decode is None:
        return None
    if isinstance(decode, str):
        if decode != GZIP:
            raise ValueError(f"decode: {decode!r} is no built-in hook: give a function, or {GZIP!r}")
        return Decoder(GZIP, gunzip)
    return Decoder(getattr(decode, "__name__", "decode"), decode)


class _Run:
    """A pipeline and what it writes to."""

    def __init__(self, validator: Validator) -> None:
        self._store = MemoryStore({(_TOPIC, 0): 0}, refuse=refuse_content)
        self._dead_letters, metrics = MemoryDeadLetters(), RecordedMetrics()
        pause = Pause(metrics)
        outbox = OutboxPublisher(self._store, self._dead_letters, metrics, pause, DeadLetterLimit(0))
        self._pipeline = Pipeline(self._store, outbox, metrics, pause, Policies(_AT_ONCE, _AT_ONCE), validator)

    async def outcomes(self, records: Sequence[Record]) -> list[Outcome]:
        queue = PartitionQueue(_TOPIC, 0, 0, 1, asyncio.Event())
        return [await self._outcome(queue, given, offset) for offset, given in enumerate(records)]

    async def _outcome(self, queue: PartitionQueue, given: Record, offset: int) -> Outcome:
        placed = KafkaRecord(_TOPIC, 0, offset, given.timestamp, given.key, given.value, given.headers)
        if fetched := queue.expect([placed]):
            queue.append(fetched)
        batch = queue.unsettled[0]
        counts = asdict(await self._pipeline.process(batch))
        queue.settle(batch)
        name = next(name for name, records in counts.items() if records)
        if name == "dead_lettered":
            failure = DeadLetterRecord(self._dead_letters.records[-1]).to_dead_letter().failure
            return Outcome(name, None, failure.step, failure.reason, failure.message)
        return Outcome(name, self._stored(placed))

    def _stored(self, placed: Record) -> dict[str, Any] | None:
        verdict = self._pipeline.validator.check_contract(placed)
        row = self._store.rows.get(verdict.event_id) if isinstance(verdict, ValidEvent) else None
        if row is None:
            return None
        stored = json.loads(row.document, parse_float=Decimal)
        return {name: stored[name] for name in _FIELDS if stored.get(name) is not None}
