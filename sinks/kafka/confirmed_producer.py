"""A Kafka producer whose delivery reports are awaited on an event loop."""

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
"""The record id, empty where the broker did not return it; or the error."""

log = logging.getLogger(__name__)
POLL_S = 0.5
GRACE_S = 1.0
"""Time after librdkafka's own timeout at which an answer is given up."""


class AwaitableProducer:
    """A producer for one event loop; one thread polls for all calls. Concurrent calls share librdkafka's requests.

    The constructor raises KafkaException when librdkafka refuses the settings, or has no token.
    """

    def __init__(self, settings: Mapping[str, object], timeout_s: float) -> None:
        self._producer = Producer({**settings, "message.timeout.ms": int(timeout_s * 1000)})
        self._timeout_s = timeout_s + GRACE_S
        self._closed = threading.Event()
        threading.Thread(target=self._poll, name="dead letter confirmations", daemon=True).start()

    async def send(self, records: Sequence[KafkaRecord]) -> list[Answer]:
        """Produce records and return the answer to each, in their order."""
        reports = _DeliveryReports(len(records))
        for number, record in enumerate(records):
            try:
                self._produce(record, partial(reports.confirm, number))
            except KafkaException as error:
                reports.answer(number, error.args[0])
            except BufferError:
                reports.answer(number, KafkaError(KafkaError._QUEUE_FULL))  # noqa: SLF001 - it has no other name
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                await reports.done
        return list(reports.answers)

    def close(self) -> None:
        """Purge unconfirmed records, of which none was reported as published."""
        self._producer.purge()
        self._closed.set()

    def _produce(self, record: KafkaRecord, confirm: object) -> None:
        headers: list[tuple[str, str | bytes | None]] = [*record.headers]
        if "\0" in "".join([name for name, _ in headers]):  # librdkafka's Python client cuts a name there
            headers = [(name.replace("\0", "\ufffd"), value) for name, value in headers]
        self._producer.produce(
            record.topic,
            value=record.value,
            key=record.key,
            headers=headers,
            timestamp=record.timestamp,
            on_delivery=confirm,  # type: ignore[arg-type]
        )

    def _poll(self) -> None:
        while not self._closed.is_set() or len(self._producer):
            try:
                self._producer.poll(POLL_S)
            except Exception:
                # poll() raises what a callback raised, also one for a token; without this thread no call would end.
                log.exception("a callback of the dead letter producer failed")


class _DeliveryReports:
    """The answers of one call, set by the polling thread; ``done`` is set with the last of them."""

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
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def record_id_of(message: Message) -> str:
    """Return the record id of a confirmed message; an empty text where the broker only confirmed a duplicate."""
    offset = message.offset()
    return "" if offset is None or offset < 0 else f"{message.topic()}-{message.partition()}-{offset}"
