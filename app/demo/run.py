"""One run of the demo: topics, worker, traffic, proof."""

from __future__ import annotations

import random
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from confluent_kafka import Producer

from keepstream.app.demo.backend import Backend
from keepstream.app.demo.producer import DemoProducer
from keepstream.app.demo.proof import Proof, prove
from keepstream.app.demo.traffic import traffic
from keepstream.app.demo.worker_process import DemoError, WorkerProcess
from keepstream.app.status.audit import DeepAudit
from keepstream.sinks.kafka.admin import KafkaAdmin
from keepstream.sinks.kafka.dead_letter_reader import read_all
from keepstream.sinks.postgres.connection import Connection
from keepstream.sinks.postgres.migrate import migrate

PARTITIONS = 8
LIVE_SHARE, MAX_LIVE = 0.2, 20_000
LIVE_RATE = 1_000
STALL_TIMEOUT_S = 90.0
SEED = 20_261_124


@dataclass(slots=True)
class Plan:
    """Options of a run. ``notify`` takes lines of text, ``progress`` takes (settled, produced, kills)."""

    events: int
    kills: int
    notify: Callable[[str], None]
    progress: Callable[[int, int, int], None] = lambda _settled, _produced, _kills: None


class Demo:
    """One run on one backend, with its own topics and schema."""

    def __init__(self, plan: Plan, backend: Backend) -> None:
        name = uuid.uuid4().hex[:8]
        self.plan, self.backend = plan, backend
        self.topic, self.dlq_topic, self.schema = f"events-{name}", f"event-dlq-{name}", f"keepstream_demo_{name}"
        self._kafka = KafkaAdmin({"bootstrap.servers": backend.bootstrap_servers})
        self.producer = DemoProducer(self._kafka.config, self.topic)
        self.kills = 0

    def run(self) -> Proof:
        """Produce, wait, prove. Raises DemoError when the worker ends by itself or stalls."""
        self._make_topics()
        with self._schema() as connection, self._worker() as worker:
            settled = threading.Event()
            killer = threading.Thread(target=self._kill_at_random, args=(worker, connection, settled), daemon=True)
            if self.plan.kills:
                killer.start()
            try:
                self._produce(worker, connection)
                self._wait(worker, connection)
            finally:
                settled.set()
            worker.finish()
            discrepancies = sum(1 for _ in DeepAudit(connection, self._kafka, self.topic, self.dlq_topic).run())
            dead = read_all(self._kafka, self.dlq_topic)
            return prove(connection, self.topic, self.producer, dead, discrepancies)

    def _make_topics(self) -> None:
        if self.backend.is_mock:  # it creates topics on demand, with its own number of partitions
            Producer(self._kafka.config).list_topics(self.topic, timeout=10)
            Producer(self._kafka.config).list_topics(self.dlq_topic, timeout=10)
            return
        self._kafka.create_topic(self.topic, PARTITIONS, 1, {})
        self._kafka.create_topic(self.dlq_topic, 1, 1, {})

    @contextmanager
    def _schema(self) -> Iterator[Connection]:
        options = f"-c search_path={self.schema} -c timezone=UTC"
        with psycopg.connect(self.backend.postgres_url, autocommit=True, options=options) as connection:
            migrate(connection, self.schema)
            try:
                yield connection
            finally:
                connection.execute(f"DROP SCHEMA {self.schema} CASCADE")

    @contextmanager
    def _worker(self) -> Iterator[WorkerProcess]:
        environment = {
            "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.backend.bootstrap_servers,
            "KEEPSTREAM_KAFKA__TOPIC": self.topic,
            "KEEPSTREAM_KAFKA__DLQ_TOPIC": self.dlq_topic,
            "KEEPSTREAM_KAFKA__GROUP_ID": self.topic,
            "KEEPSTREAM_KAFKA__SESSION_TIMEOUT_S": "6",
            "KEEPSTREAM_POSTGRES__URL": self.backend.postgres_url,
            "KEEPSTREAM_POSTGRES__SCHEMA_NAME": self.schema,
            "KEEPSTREAM_HTTP__PORT": "0",
            "KEEPSTREAM_LOG__FORMAT": "json",
        }
        with tempfile.TemporaryDirectory(prefix="keepstream-demo-") as folder:
            worker = WorkerProcess(environment, Path(folder) / "worker.log")
            try:
                yield worker
            finally:
                worker.kill()

    def _produce(self, worker: WorkerProcess, connection: Connection) -> None:
        live = min(MAX_LIVE, int(self.plan.events * LIVE_SHARE))
        for record in traffic(self.plan.events - live, "burst", SEED):
            self.producer.send(record)
        self.producer.flush()
        self._wait(worker, connection)
        for number in self.producer.send_paced(traffic(live, "live", SEED + 1), LIVE_RATE):
            if number % LIVE_RATE == 0:
                self._report(connection)
        self.producer.flush()

    def _wait(self, worker: WorkerProcess, connection: Connection) -> None:
        """Wait until all produced records are settled."""
        last, changed_at = -1, time.monotonic()
        while (settled := self._report(connection)) < self.producer.acknowledged:
            worker.check()
            if settled != last:
                last, changed_at = settled, time.monotonic()
            if time.monotonic() - changed_at > STALL_TIMEOUT_S:
                raise DemoError(f"nothing was settled for {STALL_TIMEOUT_S:.0f} s; its log ends:\n{worker.log_end()}")
            time.sleep(0.1)

    def _report(self, connection: Connection) -> int:
        settled = _settled(connection)
        self.plan.progress(settled, self.producer.acknowledged, self.kills)
        return settled

    def _kill_at_random(self, worker: WorkerProcess, connection: Connection, settled: threading.Event) -> None:
        """Kill the worker each time a random share of all records is settled."""
        rng = random.Random()  # noqa: S311 - chaos, not secrets
        for share in sorted(rng.uniform(0.05, 0.9) for _ in range(self.plan.kills)):
            while _settled(connection) < share * self.plan.events:
                if settled.wait(0.05):
                    return
            worker.kill_and_restart()
            self.kills += 1


def _settled(connection: Connection) -> int:
    """Count the records that are in their place: a dead letter in the outbox is not yet."""
    query = "SELECT total - (SELECT count(*) FROM dead_letter_outbox) FROM event_totals"
    return int(connection.execute(query).fetchall()[0][0])
