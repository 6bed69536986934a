"""The dead letter topic: everything known about publishing to it."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.dead_letter import dead_letter_headers
from schemas.failure import Failure, Step, SystemicError, Verdict
from schemas.record import KafkaRecord
from schemas.reference import original_of, reference_to

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from schemas.dead_letter import DeadLetter
    from schemas.reference import Original

    Answer = str | KafkaError
    """The place that a record got, empty where the broker did not say; or that the topic is too small for it."""

log = logging.getLogger(__name__)

PRODUCER_SETTINGS: dict[str, str | int | float | bool] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 0,
    # A dead letter is its record plus our headers: what the source topic took must leave here too (Faust trap T14).
    "message.max.bytes": 16 * 1024 * 1024,
}


class Originals(Protocol):
    """Who keeps what the topic is too small for."""

    async def keep(self, originals: Sequence[Original]) -> None:
        """Return once they are safe; raise SystemicError otherwise."""
        ...


class KafkaDeadLetters:
    """Publishes dead letters and waits until the broker has confirmed every one of them.

    ``client`` holds librdkafka's connection settings. Publishing happens on a thread, one call at a time; a producer
    that met a fatal error is replaced. With ``originals``, a letter that the topic does not take for its size is kept
    there, and a reference to it is published in its place.
    """

    def __init__(
        self, topic: str, client: Mapping[str, object], *, timeout_s: float, app_version: str,
        originals: Originals | None = None,
    ) -> None:  # fmt: skip
        self._topic = topic
        self._originals = originals
        self._settings = {
            **PRODUCER_SETTINGS,
            "message.timeout.ms": int(timeout_s * 1000),
            **client,
            "logger": log,
        }
        self._timeout_s = timeout_s
        self._app_version = app_version
        self._producer: Producer | None = None
        self._turn = threading.Lock()

    async def publish(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Return the letters with their places once each is confirmed; raise SystemicError when one is not.

        A failure may leave some of them published: they will be published again, under the same id.
        """
        records = [self._dressed(letter) for letter in letters]
        answers = await self._send(records)
        if len(records) > 1:  # together they may be too large for one request, while each of them is not
            answers = await _again(answers, records, self._send_one_by_one)
        answers = await _again(answers, records, self._send_references)
        return [replace(letter, place=str(place) or None) for letter, place in zip(letters, answers, strict=True)]

    async def close(self) -> None:
        """Forget what is not confirmed: nobody was told that it is safe."""
        if self._producer is not None:
            self._producer.purge()
            self._producer = None

    async def _send_one_by_one(self, records: Sequence[KafkaRecord]) -> list[Answer]:
        return [answer for record in records for answer in await self._send([record])]

    async def _send_references(self, records: Sequence[KafkaRecord]) -> list[Answer]:
        answers: list[Answer] = await self._keep_and_refer(self._originals, records) if self._originals else []
        if not answers or not all(isinstance(answer, str) for answer in answers):
            raise SystemicError(_failure(self._topic, KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)))
        log.warning("%d dead letters are larger than %s takes: it holds references to them", len(records), self._topic)
        return answers

    async def _keep_and_refer(self, originals: Originals, records: Sequence[KafkaRecord]) -> list[Answer]:
        """Keep the whole letters first: a reference must never lead nowhere."""
        await originals.keep([original_of(record) for record in records])
        return await self._send([reference_to(record) for record in records])

    def _dressed(self, letter: DeadLetter) -> KafkaRecord:
        record, headers = letter.record, dead_letter_headers(letter, self._app_version)
        return KafkaRecord(self._topic, 0, 0, max(record.timestamp, 0), record.key, record.value, headers)

    async def _send(self, records: Sequence[KafkaRecord]) -> list[Answer]:
        """Return once all are confirmed but those that the topic is too small for."""
        return await asyncio.to_thread(self._send_in_turn, records)

    def _send_in_turn(self, records: Sequence[KafkaRecord]) -> list[Answer]:
        with self._turn:
            try:
                answers = self._send_all(records)
            except KafkaException as none_made:  # no producer without a token for OAUTHBEARER
                raise SystemicError(_failure(self._topic, none_made.args[0])) from None
            errors = [answer for answer in answers if isinstance(answer, KafkaError)]
            self._drop_fatal(errors)
        for error in errors:
            if error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise SystemicError(_failure(self._topic, error))
        return answers

    def _send_all(self, records: Sequence[KafkaRecord]) -> list[Answer]:
        """Produce, and return what the broker said about each."""
        if self._producer is None:
            self._producer = Producer(self._settings)
        unanswered = KafkaError(KafkaError._MSG_TIMED_OUT)  # noqa: SLF001 - librdkafka's local codes have no other name
        answers: list[Answer] = [unanswered] * len(records)

        def confirm(number: int, error: KafkaError | None, message: Message) -> None:
            answers[number] = error or place_of(message)

        for number, record in enumerate(records):
            try:
                self._produce(self._producer, record, partial(confirm, number))
            except KafkaException as error:
                answers[number] = error.args[0]
            except BufferError:
                answers[number] = KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001
        self._producer.flush(self._timeout_s)
        return answers

    def _produce(self, producer: Producer, record: KafkaRecord, confirm: object) -> None:
        producer.produce(
            self._topic,
            value=record.value,
            key=record.key,
            # librdkafka's Python client cuts a name at a NUL character.
            headers=[(name.replace("\0", "\ufffd"), value) for name, value in record.headers],
            timestamp=record.timestamp,
            on_delivery=confirm,  # type: ignore[arg-type]
        )

    def _drop_fatal(self, errors: Sequence[KafkaError]) -> None:
        if any(error.fatal() for error in errors) and self._producer is not None:
            self._producer.purge()
            self._producer = None


def place_of(message: Message) -> str:
    """Return where a confirmed message lies; an empty text where a retry only learned that it is there."""
    offset = message.offset()
    return "" if offset is None or offset < 0 else f"{message.topic()}-{message.partition()}-{offset}"


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
