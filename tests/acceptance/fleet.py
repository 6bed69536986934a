"""Workers that consume several topics by a keepstream.toml, and producers that give equal ids to all of them."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from keepstream.schemas.record import KafkaRecord
from tests.acceptance.conftest import QUICK, System, Worker
from tests.builders import make_value
from tests.faults.produced_ledger import PRODUCER_SETTINGS, consumed_to_end
from tests.fork_server import worker_process
from tests.real import eventually

BROKEN_EVERY, REPEATED_EVERY = 20, 50
ASSIGNED = "keepstream_assigned_partitions"
TICK_S = 0.02


@dataclass
class Fleet:
    """Workers of one group, and their topics: each is a system of its own as far as its tables are asked."""

    folder: Path
    topics: Sequence[System]
    environment: dict[str, str] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.group_id = f"group-{uuid.uuid4().hex[:12]}"
        for topic in self.topics:
            topic.group_id = self.group_id

    def start_worker(self, topics: Sequence[System] | None = None, **environment: str) -> Worker:
        """Start a worker for these topics, by default for all."""
        number = len(self.workers)
        config = self.folder / f"keepstream-{number}.toml"
        config.write_text("".join(map(section_of, topics or self.topics)), encoding="utf-8")
        settings = {
            "KEEPSTREAM_CONFIG": str(config),
            "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.topics[0].kafka.bootstrap_servers,
            "KEEPSTREAM_KAFKA__GROUP_ID": self.group_id,
            **QUICK,
        }  # fmt: skip
        process = worker_process(settings | self.environment | environment, self.folder / f"fleet-{number}.log")
        self.workers.append(Worker(process))
        return self.workers[-1]

    def stop(self) -> None:
        """End the workers; what they logged last is shown when the test has failed."""
        for number, worker in enumerate(self.workers):
            worker.process.kill()
            print(f"--- worker {number}, exit code {worker.process.exit_code}\n{worker.process.log_end(12)}")

    def counts(self) -> list[int]:
        return [topic.settled_count() for topic in self.topics]


def section_of(topic: System) -> str:
    """Return a topic's part of keepstream.toml."""
    return f"""
[keepstream.topics."{topic.topic}"]
dlq_topic = "{topic.dlq_topic}"
[keepstream.topics."{topic.topic}".postgres]
url = "{topic.database.store_url or topic.database.url}"
schema_name = "{topic.database.schema}"
"""


def assigned(worker: Worker) -> int:
    return int(worker.metric(ASSIGNED))


def go_on(*topics: System, events: int = 100, timeout_s: float = 60.0) -> None:
    """Wait until so many events more are settled in each topic."""
    goals = [topic.settled_count() + events for topic in topics]
    for topic, goal in zip(topics, goals, strict=True):
        eventually(lambda t=topic, n=goal: t.settled_count() >= n, timeout_s, f"{topic.topic} goes on")  # type: ignore[misc]


class EqualIds:
    """A producer of the same event ids to every topic; some values are no JSON, some are sent twice."""

    def __init__(self, topics: Sequence[System]) -> None:
        self._producer = Producer({**PRODUCER_SETTINGS, "bootstrap.servers": topics[0].kafka.bootstrap_servers})
        self._topics = topics
        self._run = uuid.uuid4().hex[:8]
        self._sent = 0
        self._ended = threading.Event()
        self.acknowledged: dict[str, set[bytes]] = {topic.topic: set() for topic in topics}

    @contextmanager
    def flowing(self, per_s: int = 100) -> Iterator[None]:
        """Produce so many events a second to each topic meanwhile; afterwards all are acknowledged."""
        self._ended.clear()
        thread = threading.Thread(target=self._produce, args=[per_s], daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(60)
        self.flush()

    def send(self, count: int) -> None:
        for _ in range(count):
            self._one()
        self.flush()

    def flush(self) -> None:
        assert self._producer.flush(90) == 0, "the broker does not acknowledge"

    def _produce(self, per_s: int) -> None:
        began, first = time.monotonic(), self._sent
        while not self._ended.wait(TICK_S):
            while self._sent - first < (time.monotonic() - began) * per_s:
                self._one()
            self._producer.poll(0)

    def _one(self) -> None:
        self._sent += 1
        event_id = f"{self._run}-{self._sent}"
        for topic in self._topics:
            value = make_value(event_id=event_id, payload={"of": topic.topic})
            if self._sent % BROKEN_EVERY == 0:
                value = f"broken {self._sent} of {topic.topic} ".encode() + b"\x00\xff"
            for _ in range(2 if self._sent % REPEATED_EVERY == 1 else 1):
                self._producer.produce(topic.topic, value, event_id.encode(), on_delivery=self._delivered)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.acknowledged[str(message.topic())].add(message.key() or b"")


def reckon(topic: System, acknowledged: set[bytes], timeout_s: float = 90.0) -> None:
    """Wait until a topic is consumed, and compare every record of it with its rows, counters and dead letters."""
    eventually(lambda: consumed_to_end(topic), timeout_s, f"{topic.topic} is consumed")
    outbox = "SELECT count(*) FROM dead_letter_outbox"
    eventually(lambda: topic.database.value(outbox) == 0, timeout_s, f"the outbox of {topic.topic} is empty")
    topic.assert_consistent()
    records = topic.kafka.read(topic.topic)
    good = [record for record in records if is_event(record)]
    bad = sorted((record.key or b"", record.value or b"") for record in records if not is_event(record))
    ids = {str((record.key or b"").decode()) for record in good}
    assert {record.key or b"" for record in records} >= acknowledged, "an acknowledged record is not in the topic"
    assert sorted((letter.key or b"", letter.value or b"") for letter in topic.dead().values()) == bad
    rows = topic.database.rows("SELECT event_id, payload ->> 'of' FROM events WHERE status = 'delivered'")
    assert Counter(rows) == Counter((event_id, topic.topic) for event_id in ids)
    totals = topic.database.totals()
    assert {name: totals[name] for name in ("total", "delivered", "failed", "duplicate")} == {
        "total": len(records), "delivered": len(ids), "failed": len(bad), "duplicate": len(good) - len(ids),
    }  # fmt: skip


def is_event(record: KafkaRecord) -> bool:
    return bool(record.value and record.value.startswith(b"{"))
