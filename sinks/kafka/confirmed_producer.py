"""A Kafka producer whose records are awaited on an event loop: one thread polls, however many wait."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from keepstream.schemas.record import KafkaRecord

Answer = str | KafkaError
"""The place that a record got, empty where the broker did not say; or why it got none."""

log = logging.getLogger(__name__)
POLL_S = 0.5
GRACE_S = 1.0
"""How much later than librdkafka's own timeout an answer is given up."""


class AwaitableProducer:
    """Calls from one event loop. A call does not wait for those before it: librdkafka joins what is on its way.

    Raises KafkaException when it is made and librdkafka refuses the settings, or has no token.
    """

    def __init__(self, settings: Mapping[str, object], timeout_s: float) -> None:
        self._producer = Producer({**settings, "message.timeout.ms": int(timeout_s * 1000)})
        self._timeout_s = timeout_s + GRACE_S
        self._closed = threading.Event()
        threading.Thread(target=self._poll, name="dead letter confirmations", daemon=True).start()

    async def send(self, records: Sequence[KafkaRecord]) -> list[Answer]:
        """Return what the broker said about each record, in their order."""
        waiting = _Waiting(len(records))
        for number, record in enumerate(records):
            try:
                self._produce(record, partial(waiting.confirm, number))
            except KafkaException as error:
                waiting.answer(number, error.args[0])
            except BufferError:
                waiting.answer(number, KafkaError(KafkaError._QUEUE_FULL))  # noqa: SLF001 - it has no other name
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                await waiting.done
        return list(waiting.answers)

    def close(self) -> None:
        """Forget what is not confirmed: nobody was told that it is safe."""
        self._producer.purge()
        self._closed.set()

    def _produce(self, record: KafkaRecord, confirm: object) -> None:
        self._producer.produce(
            record.topic,
            value=record.value,
            key=record.key,
            # librdkafka's Python client cuts a name at a NUL character.
            headers=[(name.replace("\0", "\ufffd"), value) for name, value in record.headers],
            timestamp=record.timestamp,
            on_delivery=confirm,  # type: ignore[arg-type]
        )

    def _poll(self) -> None:
        while not self._closed.is_set() or len(self._producer):
            try:
                self._producer.poll(POLL_S)
            except Exception:
                # poll() raises what a callback raised, be it for a token: without this thread nobody would be answered.
                log.exception("a callback of the dead letter producer failed")


class _Waiting:
    """The answers of one call, written by the polling thread; ``done`` is set once all are there."""

    def __init__(self, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = count
        self._lock = threading.Lock()
        self.done = self._loop.create_future()
        self.answers: list[Answer] = [KafkaError(KafkaError._MSG_TIMED_OUT)] * count  # noqa: SLF001
        if not count:
            self.done.set_result(None)

    def confirm(self, number: int, error: KafkaError | None, message: Message) -> None:
        self.answer(number, error or record_id_of(message))

    def answer(self, number: int, answer: Answer) -> None:
        with self._lock:
            self.answers[number] = answer
            self._left -= 1
            is_last = not self._left
        if is_last:
            with suppress(RuntimeError):  # the loop has ended: nobody waits
                self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def record_id_of(message: Message) -> str:
    """Return where a confirmed message lies; an empty text where a retry only learned that it is there."""
    offset = message.offset()
    return "" if offset is None or offset < 0 else f"{message.topic()}-{message.partition()}-{offset}"
