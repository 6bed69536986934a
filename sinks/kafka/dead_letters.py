"""The dead letter topic: everything known about publishing to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException

from keepstream.schemas.claim_check import StoredDeadLetter, make_claim_check, pack_dead_letter
from keepstream.schemas.dead_letter import DeadLetter, dead_letter_headers
from keepstream.schemas.failure import Failure, Step, SystemicError, Verdict
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka.confirmed_producer import Answer, AwaitableProducer

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


class ClaimCheckStore(Protocol):
    """Who keeps what the topic is too small for."""

    async def keep(self, originals: Sequence[StoredDeadLetter]) -> None:
        """Return once they are safe; raise SystemicError otherwise."""
        ...


class KafkaDeadLetterQueue:
    """Publishes dead letters and waits until the broker has confirmed every one of them.

    ``client`` holds librdkafka's connection settings. A producer that met a fatal error is replaced. With
    ``originals``, a letter that the topic does not take for its size is kept there, and a reference to it is published
    in its place.
    """

    def __init__(
        self, topic: str, client: Mapping[str, object], *, timeout_s: float, app_version: str,
        originals: ClaimCheckStore | None = None,
    ) -> None:  # fmt: skip
        self._topic = topic
        self._originals = originals
        self._settings = {**PRODUCER_SETTINGS, **client, "logger": log}
        self._timeout_s = timeout_s
        self._app_version = app_version
        self._producers: dict[str, AwaitableProducer] = {}
        self._connecting, self._alone = asyncio.Lock(), asyncio.Lock()

    async def publish(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Return the letters with their places once each is confirmed; raise SystemicError when one is not.

        A failure may leave some of them published: they will be published again, under the same id.
        """
        records = [self._dressed(letter) for letter in letters]
        answers = await self._send(records)
        # Together with others they may be too large for one request, while each of them is not.
        answers = await _again(answers, records, self._send_one_by_one)
        answers = await _again(answers, records, self._send_references)
        return [replace(letter, place=str(place) or None) for letter, place in zip(letters, answers, strict=True)]

    async def close(self) -> None:
        """Forget what is not confirmed: nobody was told that it is safe."""
        for role in list(self._producers):
            self._producers.pop(role).close()

    async def _send_one_by_one(self, records: Sequence[KafkaRecord]) -> list[Answer]:
        """Send each in a request of its own: by a producer that nobody else uses meanwhile."""
        async with self._alone:
            return [answer for record in records for answer in await self._send([record], "alone")]

    async def _send_references(self, records: Sequence[KafkaRecord]) -> list[Answer]:
        answers: list[Answer] = await self._keep_and_refer(self._originals, records) if self._originals else []
        if not answers or not all(isinstance(answer, str) for answer in answers):
            raise SystemicError(_failure(self._topic, KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)))
        log.warning("%d dead letters are larger than %s takes: it holds references to them", len(records), self._topic)
        return answers

    async def _keep_and_refer(self, originals: ClaimCheckStore, records: Sequence[KafkaRecord]) -> list[Answer]:
        """Keep the whole letters first: a reference must never lead nowhere."""
        await originals.keep([pack_dead_letter(record) for record in records])
        return await self._send_one_by_one([make_claim_check(record) for record in records])

    def _dressed(self, letter: DeadLetter) -> KafkaRecord:
        record, headers = letter.record, dead_letter_headers(letter, self._app_version)
        return KafkaRecord(self._topic, 0, 0, max(record.timestamp, 0), record.key, record.value, headers)

    async def _send(self, records: Sequence[KafkaRecord], role: str = "shared") -> list[Answer]:
        """Return once all are confirmed but those that the topic is too small for."""
        producer = await self._producer(role)
        answers = await producer.send(records)
        errors = [answer for answer in answers if isinstance(answer, KafkaError)]
        if any(error.fatal() for error in errors) and self._producers.get(role) is producer:
            self._producers.pop(role).close()
        for error in errors:
            if error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise SystemicError(_failure(self._topic, error))
        return answers

    async def _producer(self, role: str) -> AwaitableProducer:
        """Return the producer of a role, made on a thread the first time: it may have to ask for a token."""
        async with self._connecting:
            if role not in self._producers:
                try:
                    made = await asyncio.to_thread(AwaitableProducer, self._settings, self._timeout_s)
                except KafkaException as none_made:  # no producer without a token for OAUTHBEARER
                    raise SystemicError(_failure(self._topic, none_made.args[0])) from None
                self._producers[role] = made
            return self._producers[role]


async def _again(
    answers: list[Answer],
    records: Sequence[KafkaRecord],
    send: Callable[[Sequence[KafkaRecord]], Awaitable[list[Answer]]],
) -> list[Answer]:
    """Send in another way what the topic was too small for."""
    left = [record for record, answer in zip(records, answers, strict=True) if not isinstance(answer, str)]
    better = iter(await send(left) if left else ())
    return [answer if isinstance(answer, str) else next(better) for answer in answers]


def _failure(topic: str, error: KafkaError) -> Failure:
    message = f"the dead letter topic {topic!r} did not take a dead letter: {error.name()}"
    return Failure(Step.STORE, Verdict.SYSTEMIC, "dlq_unavailable", message)
