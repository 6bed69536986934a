"""The dead letter topic: everything known about publishing to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException

from keepstream.schemas.claim_check import StoredDeadLetter, make_claim_check, pack_dead_letter
from keepstream.schemas.failure import Failure, Step, SystemicError, Verdict
from keepstream.schemas.outcome import Publication
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka.confirmed_producer import AwaitableProducer

log = logging.getLogger(__name__)

PRODUCER_SETTINGS: dict[str, str | int | float | bool] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    # The letters of a batch leave in one request: a tenth less of the worker's CPU with 10 % bad records.
    "linger.ms": 1,
    # A dead letter is its record plus our headers: what the source topic took must leave here too (Faust trap T14).
    "message.max.bytes": 16 * 1024 * 1024,
}

NOW = 0
"""As a timestamp, to librdkafka."""
Answer = str | KafkaError | Failure
"""Where a letter lies, empty where the broker did not say; or why it is not confirmed."""


class ClaimCheckStore(Protocol):
    """Who keeps what the topic is too small for."""

    async def keep(self, originals: Sequence[StoredDeadLetter]) -> None:
        """Return once they are safe; raise SystemicError otherwise."""
        ...


class KafkaDeadLetterQueue:
    """Publishes dead letters and waits until the broker has confirmed or refused every one of them.

    ``client`` holds librdkafka's connection settings. A producer that met a fatal error is replaced. With
    ``originals``, a letter that the topic does not take for its size is kept there, and a reference to it is published
    in its place.
    """

    def __init__(
        self, topic: str, client: Mapping[str, object], *, timeout_s: float, originals: ClaimCheckStore | None = None
    ) -> None:
        self._topic = topic
        self._originals = originals
        self._settings = {**PRODUCER_SETTINGS, **client, "logger": log}
        self._timeout_s = timeout_s
        self._producers: dict[str, AwaitableProducer] = {}
        self._connecting, self._alone = asyncio.Lock(), asyncio.Lock()

    async def publish(self, records: Sequence[KafkaRecord]) -> Publication:
        """Return which letters the broker has confirmed, and why not the others.

        A letter that is not confirmed may have been published, and will be again, under the same id. Each is dated when
        it is published: retention counts by that, and Kafka refuses timestamps far from the present.
        """
        letters = [replace(record, topic=self._topic, timestamp=NOW) for record in records]
        try:
            answers = await self._send(letters)
            # Together with others they may be too large for one request, while each of them is not.
            answers = await _again(answers, letters, self._send_one_by_one)
            answers = await _again(answers, letters, self._send_references)
        except KafkaException as none_made:  # no producer without a token for OAUTHBEARER
            answers = [none_made.args[0]] * len(letters)
        places = {
            record.offset: answer or None
            for record, answer in zip(records, answers, strict=True)
            if isinstance(answer, str)
        }
        error = next((answer for answer in answers if not isinstance(answer, str)), None)
        return Publication(places, None if error is None else self._failure(error))

    async def close(self) -> None:
        """Forget what is not confirmed: nobody was told that it is safe."""
        for role in list(self._producers):
            self._producers.pop(role).close()

    async def _send_one_by_one(self, records: Sequence[KafkaRecord]) -> list[Answer]:
        """Send each in a request of its own: by a producer that nobody else uses meanwhile."""
        async with self._alone:
            return [answer for record in records for answer in await self._send([record], "alone")]

    async def _send_references(self, records: Sequence[KafkaRecord]) -> list[Answer]:
        if self._originals is None:
            return [KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)] * len(records)
        try:  # the whole letters first: a reference must never lead nowhere
            await self._originals.keep([pack_dead_letter(record) for record in records])
        except SystemicError as error:
            return [error.failure] * len(records)
        log.warning("%d dead letters are larger than %s takes: it holds references to them", len(records), self._topic)
        return await self._send_one_by_one([make_claim_check(record) for record in records])

    async def _send(self, records: Sequence[KafkaRecord], role: str = "shared") -> list[Answer]:
        producer = await self._producer(role)
        answers: list[Answer] = [*await producer.send(records)]
        is_fatal = any(isinstance(answer, KafkaError) and answer.fatal() for answer in answers)
        if is_fatal and self._producers.get(role) is producer:
            self._producers.pop(role).close()
        return answers

    async def _producer(self, role: str) -> AwaitableProducer:
        """Return the producer of a role, made on a thread the first time: it may have to ask for a token."""
        async with self._connecting:
            if role not in self._producers:
                self._producers[role] = await asyncio.to_thread(AwaitableProducer, self._settings, self._timeout_s)
            return self._producers[role]

    def _failure(self, error: KafkaError | Failure) -> Failure:
        if isinstance(error, Failure):
            return error
        message = f"the dead letter topic {self._topic!r} did not take a dead letter: {error.name()}"
        return Failure(Step.STORE, Verdict.SYSTEMIC, "dlq_unavailable", message)


async def _again(
    answers: list[Answer],
    records: Sequence[KafkaRecord],
    send: Callable[[Sequence[KafkaRecord]], Awaitable[list[Answer]]],
) -> list[Answer]:
    """Send in another way what the topic was too small for."""
    left = [record for record, answer in zip(records, answers, strict=True) if _is_too_large(answer)]
    better = iter(await send(left) if left else ())
    return [next(better) if _is_too_large(answer) else answer for answer in answers]


def _is_too_large(answer: Answer) -> bool:
    return isinstance(answer, KafkaError) and answer.code() == KafkaError.MSG_SIZE_TOO_LARGE
