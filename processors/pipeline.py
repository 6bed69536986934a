"""The life of one batch: every record leaves by exactly one door, stored or dead-lettered."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from keepstream.processors.batch_part import BatchPart
from keepstream.processors.bisect_batch import BatchBisection, Policies
from keepstream.processors.outbox import OutboxPublisher
from keepstream.processors.partition_queue import Batch
from keepstream.processors.pause import Pause
from keepstream.processors.ports import EventStore, Metrics
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.dead_letter import first_original_timestamp_ms
from keepstream.schemas.failure import Step
from keepstream.schemas.outcome import OutcomeCounts

__all__ = ["Pipeline", "Policies"]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The three steps over the ports they need."""

    store: EventStore
    outbox: OutboxPublisher
    metrics: Metrics
    hold: Pause
    policies: Policies
    validator: Validator = field(default_factory=Validator)

    async def process(self, batch: Batch) -> OutcomeCounts:
        """Return once no record of the batch can be lost or counted again.

        Raises PartitionRevokedError when the partition is taken away, FencedError when it was moved.
        """
        started = time.perf_counter()
        part = BatchPart.of(batch, self.validator)
        self.metrics.step_took(Step.VALIDATE, time.perf_counter() - started)
        bisection = BatchBisection(self.store, self.outbox, self.metrics, self.hold, self.policies, batch)
        tally = await bisection.settle(part)
        offset_range = batch.offset_range
        self.metrics.batch_settled(
            offset_range.topic, offset_range.partition, tally, first_original_timestamp_ms(batch.records)
        )
        return tally
