"""A dead letter topic with its ledger, and the command as a process upon it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from confluent_kafka import Producer

from keepstream.app.cli.root import root
from keepstream.app.embedded.service import free_port
from keepstream.schemas.dead_letter import dead_letter_headers
from keepstream.sinks.kafka.confirmed_producer import record_id_of
from tests.builders import make_dead_letter, make_failure, make_record
from tests.fork_server import run_command
from tests.real import Database, Kafka

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
_INSERT = """
INSERT INTO dead_letters (topic, partition, "offset", event_id, step, verdict, reason, message, sqlstate, attempts,
                          first_failed_at, last_failed_at, state, place)
VALUES ('events', 0, %s, %s, %s, %s, %s, 'no', %s, 1, %s, %s, %s, %s)"""


@dataclass
class SeededTopic:
    """A dead letter topic and its rows: number i failed i minutes after noon, as events-0-i with event e-i."""

    kafka: Kafka
    database: Database
    folder: Path
    partitions: int = 1
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.topic = self.kafka.new_topic(self.partitions, "event-dlq")

    def add(
        self, number: int, *, state: str | None = "open", partition: int = 0, value: bytes | None = b"{}",
        key: bytes | None = b"k", **failure: Any,
    ) -> None:  # fmt: skip
        """Produce a dead letter and, with a state, insert its row."""
        failed_at = NOON + timedelta(minutes=number)
        why = make_failure(**failure)
        dead_letter = make_dead_letter(
            make_record(value, number, key=key), failure=why, first_failed_at=failed_at, last_failed_at=failed_at,
            event_id=f"e-{number}",
        )  # fmt: skip
        record_id = self.produce(value, key, dead_letter_headers(dead_letter, "1"), partition)
        if state:
            row = (number, f"e-{number}", why.step, why.verdict, why.reason, why.sqlstate)
            self.database.execute(_INSERT, *row, failed_at, failed_at, state, record_id)

    def produce(
        self, value: bytes | None, key: bytes | None, headers: Sequence[tuple[str, bytes | None]], partition: int = 0,
        timestamp: int = 1_795_514_400_000,
    ) -> str:  # fmt: skip
        """Return the record id that the broker assigned."""
        producer, ids = Producer({"bootstrap.servers": self.kafka.bootstrap_servers}), []
        producer.produce(
            self.topic, value, key, headers=[*headers], partition=partition, timestamp=timestamp,
            on_delivery=lambda _error, message: ids.append(record_id_of(message)),
        )  # fmt: skip
        assert producer.flush(30) == 0
        return ids[0]

    def settings(self) -> dict[str, str]:
        return {
            "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KEEPSTREAM_KAFKA__DLQ_TOPIC": self.topic,
            "KEEPSTREAM_POSTGRES__URL": self.database.url,
            "KEEPSTREAM_POSTGRES__SCHEMA_NAME": self.database.schema,
            **self.environment,
        }

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "keepstream.app", *arguments]

    def run(self, *arguments: str, **environment: str) -> Answer:
        """Run ``keepstream ARGUMENTS`` off a terminal."""
        return self.pipe(b"", *arguments, **environment)

    def pipe(self, stdin: bytes, *arguments: str, **environment: str) -> Answer:
        given = {**os.environ, **self.settings(), **environment}
        process = run_command(arguments, given, self.folder, stdin, timeout_s=90)
        return Answer(process.returncode, process.stdout, process.stderr.decode())

    def here(self, *arguments: str) -> Answer:
        """Run it in this process: quicker, and the same but for what only a process can show."""
        result = CliRunner().invoke(root, arguments, env=self.settings())
        return Answer(result.exit_code, result.stdout.encode(), result.stderr)

    def ids(self, *arguments: str) -> list[str]:
        """Run ``dlq list`` and return the ids."""
        answer = self.here("dlq", "list", "--json", *arguments)
        assert answer.exit_code == 0, answer.errors
        return [row["id"].removeprefix("events-0-") for row in answer.rows]

    def state(self, number: int) -> str:
        return str(self.database.value('SELECT state FROM dead_letters WHERE "offset" = %s', number))


@dataclass(frozen=True)
class Answer:
    """Exit code and output of a command."""

    exit_code: int
    output: bytes
    errors: str

    @property
    def text(self) -> str:
        return self.output.decode()

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.splitlines()]


def nowhere() -> str:
    """Return an address on which no server listens."""
    return f"127.0.0.1:{free_port()}"


def without_postgres() -> dict[str, str]:
    return {"KEEPSTREAM_POSTGRES__URL": f"postgresql://{nowhere()}/none"}
