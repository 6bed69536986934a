"""The dead letter topic: everything known about publishing to it."""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.dead_letter import dead_letter_headers
from schemas.failure import Failure, Step, SystemicError, Verdict
from schemas.record import KafkaRecord
from schemas.reference import original_of, reference_to

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.dead_letter import DeadLetter
    from schemas.reference import Original

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

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Return once every letter is confirmed; raise SystemicError when one is not.

        A failure may leave some of them published: they will be published again, under the same id.
        """
        too_large = await self._send([self._dressed(letter) for letter in letters])
        # Together they may be too large for one request of the producer, while each of them is not.
        alone = [record for record in too_large if await self._send([record])] if len(letters) > 1 else too_large
        if alone:
            await self._send_references(alone)

    async def close(self) -> None:
        """Forget what is not confirmed: nobody was told that it is safe."""
        if self._producer is not None:
            self._producer.purge()
            self._producer = None

    async def _send_references(self, records: Sequence[KafkaRecord]) -> None:
        if self._originals is None or await self._keep_and_refer(self._originals, records):
            raise SystemicError(_failure(self._topic, KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)))
        log.warning("%d dead letters are larger than %s takes: it holds references to them", len(records), self._topic)

    async def _keep_and_refer(self, originals: Originals, records: Sequence[KafkaRecord]) -> list[KafkaRecord]:
        """Keep the whole letters first: a reference must never lead nowhere."""
        await originals.keep([original_of(record) for record in records])
        return await self._send([reference_to(record) for record in records])

    def _dressed(self, letter: DeadLetter) -> KafkaRecord:
        record, headers = letter.record, dead_letter_headers(letter, self._app_version)
        return KafkaRecord(self._topic, 0, 0, max(record.timestamp, 0), record.key, record.value, headers)

    async def _send(self, records: Sequence[KafkaRecord]) -> list[KafkaRecord]:
        """Return those that the topic is too small for, once all others are confirmed."""
        return await asyncio.to_thread(self._send_in_turn, records)

    def _send_in_turn(self, records: Sequence[KafkaRecord]) -> list[KafkaRecord]:
        with self._turn:
            try:
                errors = self._send_all(records)
            except KafkaException as none_made:  # no producer without a token for OAUTHBEARER
                raise SystemicError(_failure(self._topic, none_made.args[0])) from None
            self._drop_fatal([error for error in errors if error])
        for error in errors:
            if error and error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise SystemicError(_failure(self._topic, error))
        return [record for record, error in zip(records, errors, strict=True) if error]

    def _send_all(self, records: Sequence[KafkaRecord]) -> list[KafkaError | None]:
        """Produce, and return what the broker said about each."""
        if self._producer is None:
            self._producer = Producer(self._settings)
        unanswered = KafkaError(KafkaError._MSG_TIMED_OUT)  # noqa: SLF001 - librdkafka's local codes have no other name
        answers: list[KafkaError | None] = [unanswered] * len(records)

        def confirm(place: int, error: KafkaError | None, _message: Message) -> None:
            answers[place] = error

        for place, record in enumerate(records):
            try:
                self._produce(self._producer, record, partial(confirm, place))
            except KafkaException as error:
                answers[place] = error.args[0]
            except BufferError:
                answers[place] = KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001
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


def _failure(topic: str, error: KafkaError) -> Failure:
    message = f"the dead letter topic {topic!r} did not take a dead letter: {error.name()}"
    return Failure(Step.STORE, Verdict.SYSTEMIC, "dlq_unavailable", message)
