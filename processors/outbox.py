"""Publishing dead letters that are decided: what the outbox holds goes to the dead letter topic, and then leaves it.

The pattern is the transactional outbox (Richardson, "Microservices Patterns", 2018): PostgreSQL knows every dead letter
before the topic does, so the topic holds none that was not decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from keepstream.processors.dead_letter_limit import DeadLetterLimit
from keepstream.processors.partition_queue import PartitionQueue
from keepstream.processors.pause import Pause
from keepstream.processors.ports import DeadLetterOutbox, DeadLetterQueue, Metrics
from keepstream.schemas.dead_letter import DeadLetter, to_record
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.failure import Failure, StepError, SystemicError, Verdict
from keepstream.schemas.record import KafkaRecord


@dataclass(frozen=True, slots=True)
class OutboxPublisher:
    """Publishes what PostgreSQL has decided. ``app_version`` goes into the headers."""

    outbox: DeadLetterOutbox
    dead_letters: DeadLetterQueue
    metrics: Metrics
    hold: Pause
    limit: DeadLetterLimit = field(default_factory=DeadLetterLimit)
    app_version: str = ""

    def prepare(self, dead: Sequence[DeadLetter]) -> list[KafkaRecord]:
        """Return what will be published, as it has to be stored with the decision."""
        return [to_record(one, self.app_version) for one in dead]

    async def recover(self, queue: PartitionQueue) -> None:
        """Publish what was decided before the queue was opened and is not confirmed. Raises PartitionRevokedError."""

        async def load() -> Sequence[KafkaRecord]:
            try:
                return await self.outbox.load(queue.topic, queue.partition)
            except StepError as error:
                raise _systemic(error.failure) from error

        records = await self.hold.retry_until_healthy(queue, load)
        if records:
            await self.publish(queue, [DeadLetterRecord(record).to_dead_letter() for record in records], records)

    async def publish(self, queue: PartitionQueue, dead: Sequence[DeadLetter], records: Sequence[KafkaRecord]) -> None:
        """Return once the broker has confirmed all records; only those that it has not are sent again.

        Raises PartitionRevokedError.
        """
        by_offset = {one.record.offset: one for one in dead}
        waiting = {record.offset: record for record in records}
        confirmed: dict[int, str | None] = {}

        async def attempt() -> None:
            failure = None
            if waiting:
                publication = await self.dead_letters.publish([*waiting.values()])
                failure = publication.failure
                confirmed.update(publication.record_ids)
                for offset in publication.record_ids:
                    del waiting[offset]
                self.metrics.dead_lettered([by_offset[offset] for offset in publication.record_ids])
            if confirmed:
                await self._remove(queue, confirmed)
                confirmed.clear()
            if failure:
                raise SystemicError(failure)

        await self.hold.retry_until_healthy(queue, attempt)

    async def _remove(self, queue: PartitionQueue, record_ids: Mapping[int, str | None]) -> None:
        try:
            await self.outbox.remove(queue.topic, queue.partition, record_ids)
        except StepError as error:  # a trigger of the user's on dead_letters, say: no record is to blame
            raise _systemic(error.failure) from error


def _systemic(failure: Failure) -> SystemicError:
    return SystemicError(replace(failure, verdict=Verdict.SYSTEMIC))
