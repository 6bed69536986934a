"""One run of the demo: topics, worker, traffic, proof."""

from __future__ import annotations

import os
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg

from keepstream.app.config.settings import Settings
from keepstream.app.demo.proof import Proof, prove
from keepstream.app.demo.traffic import DemoProducer, traffic
from keepstream.app.embedded.process import WorkerProcess
from keepstream.app.embedded.services import EmbeddedServers, embedded_services
from keepstream.app.status.audit import DeepAudit
from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG, KafkaAdmin
from keepstream.sinks.kafka.dead_letter_reader import read_all
from keepstream.sinks.postgres.connection import Connection
from keepstream.sinks.postgres.migrate import migrate

PARTITIONS = 8
LIVE_SHARE, MAX_LIVE = 0.2, 20_000
LIVE_RATE, REPORT_EVERY = 1_000, 100
STALL_TIMEOUT_S = 90.0
POLL_S = 0.01
"""Short, so that a worker is killed in the middle of its backlog, which lasts a tenth of a second."""
SEED = 20_261_124
_POSTGRES = {"track_commit_timestamp": "on"}
"""To measure latencies up to the commit."""
_OF_OTHER_EVENTS = (
    "KEEPSTREAM_CONFIG", "KEEPSTREAM_TOPICS", "KEEPSTREAM_MAPPING", "KEEPSTREAM_CONTRACT", "KEEPSTREAM_DECODE",
    "KEEPSTREAM_STEPS",
)  # fmt: skip
"""Variables that would make the worker read other topics, or take the demo's events for something else."""
_SETTLED = "SELECT total - (SELECT count(*) FROM dead_letter_outbox) FROM event_totals"
"""Settled records; not a dead letter that is still in the outbox."""


def demo_servers(settings: Settings, notify: Callable[[str], None]) -> AbstractContextManager[EmbeddedServers]:
    """Start the servers without an address in the environment. Raises EmbeddedUnavailableError."""
    kafka_given = os.environ.get("KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS")
    postgres_given = os.environ.get("KEEPSTREAM_POSTGRES__URL")
    return embedded_services(
        bootstrap_servers=settings.kafka.bootstrap_servers if kafka_given else None,
        postgres_url=settings.postgres.url.get_secret_value() if postgres_given else None,
        postgres_settings=_POSTGRES,
        progress=notify,
    )


class Demo:
    """One run on running servers, with its own topics and schema. ``progress`` takes (settled, produced, kills)."""

    def __init__(
        self, servers: EmbeddedServers, events: int, kills: int, progress: Callable[[int, int, int], None]
    ) -> None:
        name = uuid.uuid4().hex[:8]
        self.servers, self.events, self.kills, self.progress = servers, events, kills, progress
        self.topic, self.dlq_topic, self.schema = f"events-{name}", f"event-dlq-{name}", f"keepstream_demo_{name}"
        self._kafka = KafkaAdmin({"bootstrap.servers": servers.bootstrap_servers})
        self.producer = DemoProducer(self._kafka.config, self.topic)
        shares = [random.uniform(0.05, 0.9) for _ in range(kills)]  # noqa: S311 - chaos, not secrets
        self._kills_due = sorted(share * events for share in shares)

    def run(self) -> Proof:
        """Produce, wait, prove. Raises KeepstreamError when the worker ends by itself or stalls."""
        self._kafka.create_topic(self.topic, PARTITIONS, 1, {})
        self._kafka.create_topic(self.dlq_topic, 1, 1, DEAD_LETTER_TOPIC_CONFIG)
        live = min(MAX_LIVE, int(self.events * LIVE_SHARE))
        with self._schema() as connection:
            self._produce_backlog(self.events - live)
            with self._worker() as worker:
                self._wait(worker, connection)
                self._produce_live(live, worker, connection)
                self._wait(worker, connection)
                worker.finish()
            discrepancies = sum(1 for _ in DeepAudit(connection, self._kafka, self.topic, self.dlq_topic).run())
            dead = read_all(self._kafka, self.dlq_topic)
            return prove(connection, self.topic, self.producer, dead, discrepancies)

    @contextmanager
    def _schema(self) -> Iterator[Connection]:
        options = f"-c search_path={self.schema} -c timezone=UTC"
        with psycopg.connect(self.servers.postgres_url, autocommit=True, options=options) as connection:
            migrate(connection, self.schema)
            try:
                yield connection
            finally:
                connection.execute(f"DROP SCHEMA {self.schema} CASCADE")

    @contextmanager
    def _worker(self) -> Iterator[WorkerProcess]:
        environment = {
            "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.servers.bootstrap_servers,
            "KEEPSTREAM_KAFKA__TOPIC": self.topic,
            "KEEPSTREAM_KAFKA__DLQ_TOPIC": self.dlq_topic,
            "KEEPSTREAM_KAFKA__GROUP_ID": self.topic,
            "KEEPSTREAM_KAFKA__SESSION_TIMEOUT_S": "6",
            "KEEPSTREAM_POSTGRES__URL": self.servers.postgres_url,
            "KEEPSTREAM_POSTGRES__SCHEMA_NAME": self.schema,
            "KEEPSTREAM_HTTP__PORT": "0",
            "KEEPSTREAM_LOG__FORMAT": "json",
        }
        with tempfile.TemporaryDirectory(prefix="keepstream-demo-") as folder:
            worker = WorkerProcess(environment, Path(folder) / "worker.log", without=_OF_OTHER_EVENTS)
            try:
                yield worker
            finally:
                worker.kill()

    def _produce_backlog(self, count: int) -> None:
        """Produce before the worker starts: at the same time, its rate would be the producer's."""
        for number, record in enumerate(traffic(count, "burst", SEED), 1):
            self.producer.send(record)
            if number % REPORT_EVERY == 0:
                self.progress(0, self.producer.acknowledged, 0)
        self.producer.flush()

    def _produce_live(self, count: int, worker: WorkerProcess, connection: Connection) -> None:
        for number in self.producer.send_paced(traffic(count, "live", SEED + 1), LIVE_RATE):
            if number % REPORT_EVERY == 0:
                self._report(worker, connection)
        self.producer.flush()

    def _wait(self, worker: WorkerProcess, connection: Connection) -> None:
        """Wait until all produced records are settled."""
        last, changed_at = -1, time.monotonic()
        while (settled := self._report(worker, connection)) < self.producer.acknowledged:
            worker.check()
            if settled != last:
                last, changed_at = settled, time.monotonic()
            if time.monotonic() - changed_at > STALL_TIMEOUT_S:
                raise worker.failure(f"settled nothing for {STALL_TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)

    def _report(self, worker: WorkerProcess, connection: Connection) -> int:
        """Show the progress; kill the worker when a random share of all records is settled."""
        settled = int(connection.execute(_SETTLED).fetchall()[0][0])
        if self._kills_due and settled >= self._kills_due[0]:
            del self._kills_due[0]
            worker.kill()
            worker.start()
        self.progress(settled, self.producer.acknowledged, self.kills - len(self._kills_due))
        return settled
