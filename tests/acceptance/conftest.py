"""A whole system per test: topics, schema, workers as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from keepstream.app.embedded.process import WorkerProcess
from keepstream.app.status.audit import DeepAudit, quick_audit
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.record import KafkaRecord, header
from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG, KafkaAdmin
from tests.acceptance.dead_letters import SeededTopic
from tests.fork_server import run_command, worker_process
from tests.real import Database, Kafka, Servers, eventually

QUICK = {
    "KEEPSTREAM_KAFKA__SESSION_TIMEOUT_S": "6",
    "KEEPSTREAM_KAFKA__COMMIT_INTERVAL_S": "0.2",
    "KEEPSTREAM_HTTP__PORT": "0",
    "KEEPSTREAM_LOG__FORMAT": "json",
}


@dataclass
class Worker:
    """A running ``keepstream worker``."""

    process: WorkerProcess

    def log(self) -> list[dict[str, Any]]:
        """Return the log's JSON lines."""
        lines = self.process.log_path.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def get(self, path: str) -> tuple[int, str]:
        """Ask the worker's endpoint; return status and text."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port()}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, series: str) -> float:
        """Return the value of one series, or the sum of all series of a name without labels; 0 when it is absent."""
        rows = (line.rpartition(" ") for line in self.get("/metrics")[1].splitlines() if not line.startswith("#"))
        return sum(float(value) for name, _, value in rows if series in (name, name.partition("{")[0]))

    def peak_mb(self) -> int:
        """Return the most memory that the process ever had resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024

    def _port(self) -> str:
        eventually(lambda: any("serving" in line["event"] for line in self.log()), 20, "the endpoint is served")
        said = next(line["event"] for line in self.log() if "serving" in line["event"])
        return str(said).rpartition(":")[2]


@dataclass
class System:
    """One topic, one dead letter topic, one schema, any number of workers."""

    kafka: Kafka
    database: Database
    folder: Path
    partitions: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.topic = self.kafka.new_topic(self.partitions)
        self.dlq_topic = self.kafka.new_topic(1, "event-dlq", DEAD_LETTER_TOPIC_CONFIG)
        self.group_id = f"group-{uuid.uuid4().hex[:12]}"

    def settings(self) -> dict[str, str]:
        """Return the environment that makes any command talk to this system."""
        return {
            "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KEEPSTREAM_KAFKA__TOPIC": self.topic,
            "KEEPSTREAM_KAFKA__DLQ_TOPIC": self.dlq_topic,
            "KEEPSTREAM_KAFKA__GROUP_ID": self.group_id,
            "KEEPSTREAM_POSTGRES__URL": self.database.url,
            "KEEPSTREAM_POSTGRES__SCHEMA_NAME": self.database.schema,
            **QUICK,
            **self.environment,
        }

    def start_worker(self, *command: str, **environment: str) -> Worker:
        """Start ``keepstream worker``, or what else Python is told to run."""
        log_path = self.folder / f"worker-{len(self.workers)}.log"
        given = self.settings() | environment
        process = WorkerProcess(given, log_path, command) if command else worker_process(given, log_path)
        worker = Worker(process)
        self.workers.append(worker)
        return worker

    def cli(self, *arguments: str, exit_code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``keepstream`` with this system's settings and expect its exit code."""
        done = run_command(arguments, {**os.environ, **self.settings(), **environment}, self.folder)
        out, err = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == exit_code, f"{arguments} ended with {done.returncode}:\n{out}\n{err}"
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def cli_argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "keepstream.app", *arguments]

    def produce(self, values: Iterable[bytes | None], **options: Any) -> None:
        self.kafka.produce(self.topic, values, **options)

    def settled(self, count: int, timeout_s: float = 60.0) -> None:
        """Wait until so many records are counted, and make sure that no more are."""
        try:
            eventually(lambda: self.settled_count() >= count, timeout_s, f"{count} records settled")
        except AssertionError as error:
            error.add_note(f"{self.database.totals()}\n{self._last_words()}")
            raise
        assert self.database.totals()["total"] == count

    def settled_count(self) -> int:
        """Return how many records are counted and, where they died, published."""
        query = "SELECT total - (SELECT count(*) FROM dead_letter_outbox) FROM event_totals"
        return int(self.database.value(query))

    def _last_words(self) -> str:
        logs = [worker.process.log_path.read_text(errors="replace").splitlines()[-30:] for worker in self.workers]
        return "\n\n".join("\n".join(lines) for lines in logs)

    def dead(self) -> dict[str, KafkaRecord]:
        """Return the dead letters of the topic, one per id."""
        return {header(record, "keepstream.dlq.id") or "?": record for record in self.kafka.read(self.dlq_topic)}

    def assert_consistent(self, validator: Validator | None = None) -> None:
        """Assert the promise: the audit finds nothing in either form, and nothing is pending."""
        with self.database.connect() as connection:
            assert [check for check in quick_audit(connection) if not check.holds] == []
            client = KafkaAdmin({"bootstrap.servers": self.kafka.bootstrap_servers})
            deep = DeepAudit(connection, client, self.topic, self.dlq_topic, validator=validator or Validator())
            assert list(deep.run()) == []
        assert self.database.value("SELECT count(*) FROM events WHERE status = 'pending'") == 0

    def committed_lag(self) -> int:
        """Return how far Kafka's own committed offsets are behind the end of the topic."""
        return self.kafka.committed_lag(self.group_id, self.topic)

    def stop(self) -> None:
        for worker in self.workers:
            worker.process.kill()


@pytest.fixture
def new_system(kafka: Kafka, database: Database, tmp_path: Path) -> Iterator[Callable[..., System]]:
    """Make systems on the session's servers; their workers end with the test."""
    with ExitStack() as stack:

        def make(partitions: int = 1, **environment: str) -> System:
            system = System(kafka, database, tmp_path, partitions, environment)
            stack.callback(system.stop)
            return system

        yield make


@pytest.fixture
def system(new_system: Callable[..., System]) -> System:
    return new_system()


@pytest.fixture
def own_servers(servers: Servers) -> Iterator[Servers]:
    """Servers to be stopped and killed: the session's, where it has started them; they run again after the test."""
    from keepstream.app.embedded.services import embedded_services

    with ExitStack() as stack:
        kafka, postgres = servers.kafka, servers.postgres
        if kafka is None or postgres is None:  # given by URL: others may use them
            services = stack.enter_context(embedded_services())
            kafka, postgres = services.kafka, services.postgres
            servers = Servers(services.bootstrap_servers, services.postgres_url, kafka, postgres)
        yield servers
        for server in (kafka, postgres):
            if server:
                server.start()


@pytest.fixture
def new_dlq(kafka: Kafka, database: Database, tmp_path: Path) -> Callable[..., SeededTopic]:
    """Make dead letter topics of the test's own."""
    return lambda partitions=1: SeededTopic(kafka, database, tmp_path, partitions)


@pytest.fixture
def dlq(new_dlq: Callable[..., SeededTopic]) -> SeededTopic:
    return new_dlq()


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the program `keepstream` of this checkout, for the PATH of a shell."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "keepstream").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m keepstream.app "$@"\n')
    (folder / "keepstream").chmod(0o755)
    return folder
