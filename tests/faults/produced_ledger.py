"""A producer that keeps a ledger of what Kafka acknowledged, and the reckoning against it."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from keepstream.schemas.record import KafkaRecord, header
from tests.acceptance.conftest import System, Worker
from tests.builders import make_value
from tests.faults.admin import ends
from tests.faults.report import Reckoning, Row
from tests.real import eventually

PRODUCER_SETTINGS: dict[str, str | int | float | bool] = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 5,
    "message.timeout.ms": 0,  # never give up: a fault must not thin out the ledger
    "reconnect.backoff.max.ms": 500,
    "socket.timeout.ms": 10_000,
    "topic.metadata.refresh.interval.ms": 1000,
    "log_level": 0,
}


class LedgerProducer:
    """Sends events; an id is in the ledger, fsynced, once the broker has acknowledged it.

    Every ``broken_every``-th value is no JSON; its id travels as the record's key, like all others'.
    """

    def __init__(
        self, bootstrap_servers: str, topic: str, path: Path, broken_every: int = 50, prefix: str = ""
    ) -> None:
        self._producer = Producer({**PRODUCER_SETTINGS, "bootstrap.servers": bootstrap_servers})
        self._topic = topic
        self._path = path
        self._ledger = path.open("ab")
        self._broken_every = broken_every
        self._run = prefix + uuid.uuid4().hex[:8]
        self.sent = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def send(self, count: int, *, wait: bool = True) -> None:
        """Produce so many events, and wait until they are in the ledger."""
        for _ in range(count):
            self._one()
        if wait:
            self.flush()

    def start(self, events_per_s: int = 500) -> None:
        """Produce steadily from a thread of its own until `stop`."""
        self._thread = threading.Thread(target=self._steadily, args=[events_per_s], name="ledger", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait until all that was sent is acknowledged."""
        self._halt()
        self.flush()

    def flush(self, timeout_s: float = 90.0) -> None:
        assert self._producer.flush(timeout_s) == 0, "the broker does not acknowledge"
        self._sync()

    def spreads_over(self, partitions: int) -> bool:
        """Whether the producer knows of so many partitions; asking refreshes its metadata."""
        return len(self._producer.list_topics(self._topic, timeout=10).topics[self._topic].partitions) == partitions

    def close(self) -> None:
        """Forget what is not acknowledged."""
        self._halt()
        self._producer.purge()
        self._ledger.close()

    def acknowledged(self) -> set[str]:
        """Read the ledger back from disk."""
        return set(self._path.read_text(encoding="utf-8").split())

    def _halt(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)

    def _steadily(self, events_per_s: int) -> None:
        tick_s = 0.02
        while not self._stop.wait(tick_s):
            for _ in range(max(1, int(events_per_s * tick_s))):
                self._one()
            self._producer.poll(0)
            self._sync()

    def _one(self) -> None:
        self.sent += 1
        event_id = f"{self._run}-{self.sent}"
        value = b"broken" if self.sent % self._broken_every == 0 else make_value(event_id=event_id)
        while True:
            try:
                self._producer.produce(self._topic, value, event_id.encode(), on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._ledger.write((message.key() or b"") + b"\n")

    def _sync(self) -> None:
        self._ledger.flush()
        os.fsync(self._ledger.fileno())


def reckon(
    system: System, producer: LedgerProducer, timeout_s: float = 90.0, *,
    earlier_records: int = 0, deleted: frozenset[str] = frozenset(),
) -> Reckoning:  # fmt: skip
    """Wait until everything in the topic is consumed, then compare.

    ``earlier_records`` were counted and have left the topic since; ``deleted`` left it before anybody could read them.
    """
    eventually(lambda: consumed_to_end(system), timeout_s, "everything in the topic is consumed")
    eventually(
        lambda: system.database.value("SELECT count(*) FROM dead_letter_outbox") == 0, timeout_s, "the outbox is empty"
    )
    records = system.kafka.read(system.topic)
    stored = stored_ids(system)
    letters = system.dead().values()
    dead = {_key(letter) for letter in letters}
    acknowledged, present = producer.acknowledged(), {_key(record) for record in records}
    totals, places = system.database.totals(), (stored | dead)
    return Reckoning(
        acknowledged=len(acknowledged),
        missing=frozenset(acknowledged - places - deleted),
        invented=frozenset(places - present) if not earlier_records else frozenset(),
        in_both=frozenset(stored & dead),
        counter_difference=totals["total"] - len(records) - earlier_records,
        row_difference=totals["delivered"] - system.database.value("SELECT count(*) FROM events"),
        death_difference=abs(totals["failed"] - len(letters))
        + abs(totals["failed"] - system.database.value("SELECT count(*) FROM dead_letters")),
        dead_for_the_environment=frozenset(_key(letter) for letter in letters if letter.value != b"broken"),
    )


def stored_ids(system: System) -> set[str]:
    return {str(row[0]) for row in system.database.rows("SELECT event_id FROM events WHERE status = 'delivered'")}


def close(row: Row, system: System, producer: LedgerProducer, worker: Worker) -> None:
    """End a fault's row: all acknowledged is in one place, the audit finds nothing, and the worker never restarted."""
    found = reckon(system, producer)
    system.assert_consistent()
    assert worker.process.exit_code is None, worker.process.log_end()
    row.closes(found)


def settled(system: System) -> int:
    return system.settled_count()


def warmed_up(system: System, producer: LedgerProducer, count: int = 200) -> Worker:
    """Start a worker and see it work, so that all its connections are open."""
    worker = system.start_worker()
    producer.send(count)
    system.settled(count)
    return worker


def consumed_to_end(system: System) -> bool:
    """Whether `stream_offsets` has reached the end of every partition."""
    bounds = ends(system.kafka, system.topic)
    query = "SELECT partition, next_offset FROM stream_offsets WHERE topic = %s"
    stored: dict[int, int] = dict(system.database.rows(query, system.topic))
    return all(stored.get(partition, 0) >= end for partition, (low, end) in bounds.items() if end > low)


def dead_letter_repeats(system: System) -> int:
    """Return how many dead letters are in the topic more than once: allowed after a crash, never without one."""
    ids = Counter(header(letter, "keepstream.dlq.id") for letter in system.kafka.read(system.dlq_topic))
    return sum(ids.values()) - len(ids)


def wait_s(seconds: float) -> None:
    """Let a fault last. The time itself is the fault, so nothing can be polled for."""
    time.sleep(seconds)


def _key(record: KafkaRecord) -> str:
    """Return the event's id: the key, or else what the value says."""
    return record.key.decode() if record.key else str(json.loads(record.value or b"{}")["event_id"])
