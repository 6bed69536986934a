"""Group commit, broken on purpose: several batches of a partition in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest import mock

from keepstream.processors import partition_queue
from keepstream.processors.batch_part import BatchPart
from keepstream.processors.partition_queue import Batch
from keepstream.processors.pipeline import Pipeline
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.outcome import OutcomeCounts
from tests.builders import make_failure

patch = mock.patch.object


def joined_batch_loses_records() -> Any:
    """Batches that share a transaction: the offset moves past all, the records are those of the first."""
    join = partition_queue.join

    def first_only(batches: Sequence[Batch]) -> Batch:
        return replace(join(batches), records=batches[0].records)

    return patch(partition_queue, "join", first_only)


def divided_transaction_ends_with_its_first_batch() -> Any:
    """A refused transaction is divided, and its first batch moves the offset past all."""
    divide = BatchPart.divide

    def first_only(self: BatchPart) -> list[BatchPart]:
        parts = divide(self)
        return [replace(parts[0], offset_range=self.offset_range)] if self.borders else parts

    return patch(BatchPart, "divide", first_only)


def joined_batches_die_together() -> Any:
    """A bad record costs every batch of its transaction."""

    async def all_die(self: Pipeline, part: BatchPart) -> OutcomeCounts:
        if not part.borders:
            return await divide(self, part)
        now = datetime.now(UTC)
        dead = [DeadLetter(event.record, make_failure(), now, now, event.event_id) for event in part.events]
        return await self.settle(replace(part, events=(), dead=[*part.dead, *dead]))

    divide = Pipeline._divide
    return patch(Pipeline, "_divide", all_die)


GROUP_COMMIT_BUGS = (
    joined_batch_loses_records,
    divided_transaction_ends_with_its_first_batch,
    joined_batches_die_together,
)
