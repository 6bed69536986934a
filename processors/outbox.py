"""Publishing dead letters from the outbox to the dead letter topic; each leaves the outbox once it is confirmed.

The pattern is the transactional outbox (Richardson, "Microservices Patterns", 2018): PostgreSQL knows every dead letter
before the topic does, so the topic has none that was not decided.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from keepstream.processors.dead_letter_limit import DeadLetterLimit
from keepstream.processors.partition_queue import PartitionQueue
from keepstream.processors.pause import Pause
from keepstream.processors.ports import DeadLetterOutbox, DeadLetterQueue, Metrics
from keepstream.schemas.dead_letter import DeadLetter, to_record
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.failure import StepError, SystemicError, Verdict
from keepstream.schemas.record import KafkaRecord


@dataclass(frozen=True, slots=True)
class OutboxPublisher:
    """Publishes the dead letters that PostgreSQL has committed. ``app_version`` goes into the headers."""

    outbox: DeadLetterOutbox
    dead_letters: DeadLetterQueue
    metrics: Metrics
    pause: Pause
    limit: DeadLetterLimit = field(default_factory=DeadLetterLimit)
    app_version: str = ""

    def prepare(self, dead: Sequence[DeadLetter]) -> list[KafkaRecord]:
        """Return the records to publish, as they have to be stored with the decision."""
        return [to_record(one, self.app_version) for one in dead]

    async def recover(self, queue: PartitionQueue) -> None:
        """Publish what was decided before the queue was opened and is not confirmed. Raises PartitionRevokedError."""

        async def load() -> Sequence[KafkaRecord]:
            with _every_failure_systemic():
                return await self.outbox.load(queue.topic, queue.partition)

        records = await self.pause.retry_until_healthy(queue, load)
        if records:
            await self.publish(queue, [DeadLetterRecord(record).to_dead_letter() for record in records], records)

    async def publish(self, queue: PartitionQueue, dead: Sequence[DeadLetter], records: Sequence[KafkaRecord]) -> None:
        """Return once the broker has confirmed all records; only those that it has not are sent again.

        Raises PartitionRevokedError.
        """
        by_id = {one.id: one for one in dead}
        waiting = dict(zip(by_id, records, strict=True))
        confirmed: dict[str, str | None] = {}

        async def attempt() -> None:
            failure = None
            if waiting:
                started = time.perf_counter()
                publication = await self.dead_letters.publish([*waiting.values()])
                self.metrics.publish_took(time.perf_counter() - started)
                failure = publication.failure
                confirmed.update(publication.record_ids)
                for dead_letter_id in publication.record_ids:
                    del waiting[dead_letter_id]
                self.metrics.dead_lettered([by_id[dead_letter_id] for dead_letter_id in publication.record_ids])
            if confirmed:
                with _every_failure_systemic():
                    await self.outbox.remove(confirmed)
                confirmed.clear()
            if failure:
                raise SystemicError(failure)

        await self.pause.retry_until_healthy(queue, attempt)


@contextmanager
def _every_failure_systemic() -> Iterator[None]:
    """Turn a StepError into a SystemicError: no record is the cause of what refuses the outbox, a trigger say."""
    try:
        yield
    except StepError as error:
        raise SystemicError(replace(error.failure, verdict=Verdict.SYSTEMIC)) from error
