"""Publishing to the dead letter topic."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException

from keepstream.schemas.claim_check import StoredDeadLetter, make_claim_check, pack_dead_letter
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.failure import Failure, Step, SystemicError, Verdict
from keepstream.schemas.outcome import Publication
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka.confirmed_producer import AwaitableProducer

log = logging.getLogger(__name__)

PRODUCER_SETTINGS: dict[str, str | int | float | bool] = {
    "enable.idempotence": True,
    "acks": "all",
    # The dead letters of a batch share one request: a tenth less of the worker's CPU with 10 % bad records.
    "linger.ms": 1,
    # A dead letter is its record plus our headers: larger than what the source topic accepts (Faust trap T14).
    "message.max.bytes": 16 * 1024 * 1024,
}

NOW = 0
"""Timestamp for librdkafka: the current time."""
_CLOCK = (
    "the worker's wall clock is further ahead or behind than the topic allows; set the clock, or "
    "message.timestamp.type=LogAppendTime on the topic"
)
_CAUSES = {
    KafkaError.INVALID_TIMESTAMP: f": {_CLOCK}",
    # The broker's answer for more than one record, and for what it does not take for another reason.
    KafkaError.INVALID_RECORD: f": probably {_CLOCK}; a compacted topic refuses dead letters without a key",
}
Answer = str | KafkaError | Failure
"""The record id of a dead letter, empty where the broker did not return it; or the error."""


class ClaimCheckStore(Protocol):
    """Storage of dead letters that are too large for their topic."""

    async def keep(self, dead_letters: Sequence[StoredDeadLetter]) -> None:
        """Store dead letters durably. Raises SystemicError."""
        ...


class KafkaDeadLetterQueue:
    """Publishes dead letters and waits until the broker has confirmed or refused each of them.

    ``client`` are librdkafka's connection settings. A producer with a fatal error is replaced. With ``claim_checks``, a
    dead letter that is too large for the topic is stored there, and a claim check is published instead.
    """

    def __init__(
        self, topic: str, client: Mapping[str, object], *, timeout_s: float, claim_checks: ClaimCheckStore | None = None
    ) -> None:
        self._topic = topic
        self._claim_checks = claim_checks
        self._settings = {**PRODUCER_SETTINGS, **client, "logger": log}
        self._timeout_s = timeout_s
        self._producers: dict[str, AwaitableProducer] = {}
        self._connecting, self._alone = asyncio.Lock(), asyncio.Lock()

    async def publish(self, records: Sequence[KafkaRecord]) -> Publication:
        """Publish dead letters; return those that the broker has confirmed, and the failure of the others.

        A dead letter that is not confirmed may have been published, and will be again, under the same id. Its timestamp
        is the time of publishing, by the broker's clock where the topic has LogAppendTime, else by this host's:
        retention counts from it, and Kafka refuses timestamps far from the current time.
        """
        dead_letters = [
            KafkaRecord(self._topic, r.partition, r.offset, NOW, r.key, r.value, r.headers) for r in records
        ]
        try:
            answers = await self._send(dead_letters)
            # Together they may be too large for one request, while each alone is not.
            answers = await _resend_oversized(answers, dead_letters, self._send_one_by_one)
            answers = await _resend_oversized(answers, dead_letters, self._send_claim_checks)
        except KafkaException as no_producer:  # without a token for OAUTHBEARER
            answers = [no_producer.args[0]] * len(dead_letters)
        record_ids = {
            DeadLetterRecord(record).id: answer or None
            for record, answer in zip(records, answers, strict=True)
            if isinstance(answer, str)
        }
        error = next((answer for answer in answers if not isinstance(answer, str)), None)
        return Publication(record_ids, None if error is None else self._failure(error))

    async def close(self) -> None:
        """Purge unconfirmed dead letters, of which none was reported as published."""
        for role in list(self._producers):
            self._producers.pop(role).close()

    async def _send_one_by_one(self, records: Sequence[KafkaRecord]) -> list[Answer]:
        """Send each record in a request of its own: by a producer that no other call uses meanwhile."""
        async with self._alone:
            return [answer for record in records for answer in await self._send([record], "alone")]

    async def _send_claim_checks(self, records: Sequence[KafkaRecord]) -> list[Answer]:
        if self._claim_checks is None:
            return [KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)] * len(records)
        try:  # whole dead letters first: a claim check must always be redeemable
            await self._claim_checks.keep([pack_dead_letter(record) for record in records])
        except SystemicError as error:
            return [error.failure] * len(records)
        log.warning("%d dead letters are too large for %s: published as claim checks", len(records), self._topic)
        return await self._send_one_by_one([make_claim_check(record) for record in records])

    async def _send(self, records: Sequence[KafkaRecord], role: str = "shared") -> list[Answer]:
        producer = await self._producer(role)
        answers: list[Answer] = [*await producer.send(records)]
        is_fatal = any(isinstance(answer, KafkaError) and answer.fatal() for answer in answers)
        if is_fatal and self._producers.get(role) is producer:
            self._producers.pop(role).close()
        return answers

    async def _producer(self, role: str) -> AwaitableProducer:
        """Return the producer of a role, created on a thread at first: it may have to fetch a token."""
        async with self._connecting:
            if role not in self._producers:
                self._producers[role] = await asyncio.to_thread(AwaitableProducer, self._settings, self._timeout_s)
            return self._producers[role]

    def _failure(self, error: KafkaError | Failure) -> Failure:
        if isinstance(error, Failure):
            return error
        message = f"the dead letter topic {self._topic!r} did not take a dead letter: {error.name()}"
        message += _CAUSES.get(error.code(), "")
        return Failure(Step.STORE, Verdict.SYSTEMIC, "dlq_unavailable", message)


async def _resend_oversized(
    answers: list[Answer],
    records: Sequence[KafkaRecord],
    send: Callable[[Sequence[KafkaRecord]], Awaitable[list[Answer]]],
) -> list[Answer]:
    """Send the records that were too large in another way."""
    left = [record for record, answer in zip(records, answers, strict=True) if _is_too_large(answer)]
    better = iter(await send(left) if left else ())
    return [next(better) if _is_too_large(answer) else answer for answer in answers]


def _is_too_large(answer: Answer) -> bool:
    return isinstance(answer, KafkaError) and answer.code() == KafkaError.MSG_SIZE_TOO_LARGE
