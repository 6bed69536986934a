"""The dead letter topic: everything known about publishing to it."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.dead_letter import dead_letter_headers
from schemas.failure import Failure, Step, SystemicError, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.dead_letter import DeadLetter

log = logging.getLogger(__name__)

PRODUCER_SETTINGS: dict[str, str | int | float | bool] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 0,
    # A dead letter is its record plus our headers: what the source topic took must leave here too (Faust trap T14).
    "message.max.bytes": 16 * 1024 * 1024,
}


class KafkaDeadLetters:
    """Publishes dead letters and waits until the broker has confirmed every one of them.

    ``client`` holds librdkafka's connection settings. Publishing happens on a thread, one call at a time; a producer
    that met a fatal error is replaced.
    """

    def __init__(self, topic: str, client: Mapping[str, object], *, timeout_s: float, app_version: str) -> None:
        self._topic = topic
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
        await asyncio.to_thread(self._publish, letters)

    async def close(self) -> None:
        """Forget what is not confirmed: nobody was told that it is safe."""
        if self._producer is not None:
            self._producer.purge()
            self._producer = None

    def _publish(self, letters: Sequence[DeadLetter]) -> None:
        with self._turn:
            errors = self._send_all(letters)
            if errors:
                self._drop_fatal(errors)
                raise SystemicError(_failure(self._topic, errors[0]))

    def _send_all(self, letters: Sequence[DeadLetter]) -> list[KafkaError]:
        if self._producer is None:
            self._producer = Producer(self._settings)
        errors: list[KafkaError] = []
        confirmed = 0

        def confirm(error: KafkaError | None, _message: Message) -> None:
            nonlocal confirmed
            confirmed += 1
            if error is not None:
                errors.append(error)

        try:
            for letter in letters:
                self._send(self._producer, letter, confirm)
        except KafkaException as error:
            errors.append(error.args[0])
        except BufferError:
            errors.append(KafkaError(KafkaError._QUEUE_FULL))  # noqa: SLF001 - librdkafka's local codes have no other name
        self._producer.flush(self._timeout_s)
        if confirmed < len(letters) and not errors:
            errors.append(KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001
        return errors

    def _send(self, producer: Producer, letter: DeadLetter, confirm: object) -> None:
        record = letter.record
        producer.produce(
            self._topic,
            value=record.value,
            key=record.key,
            # librdkafka's Python client cuts a name at a NUL character.
            headers=[(n.replace("\0", "\ufffd"), v) for n, v in dead_letter_headers(letter, self._app_version)],
            timestamp=max(record.timestamp, 0),
            on_delivery=confirm,  # type: ignore[arg-type]
        )

    def _drop_fatal(self, errors: Sequence[KafkaError]) -> None:
        if any(error.fatal() for error in errors) and self._producer is not None:
            self._producer.purge()
            self._producer = None


def _failure(topic: str, error: KafkaError) -> Failure:
    message = f"the dead letter topic {topic!r} did not take a dead letter: {error.name()}"
    return Failure(Step.STORE, Verdict.SYSTEMIC, "dlq_unavailable", message)
