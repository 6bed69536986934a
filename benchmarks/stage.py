"""The broker and the database that every contestant meets: the same for all, embedded, on loopback."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from benchmarks.events import Backlog, create, fill
from keepstream.app.embedded.kafka import EmbeddedKafka
from keepstream.app.embedded.postgres import EmbeddedPostgres
from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG

BROKER_JVM = ("-Xmx1g", "-XX:+UseSerialGC")
DATABASE = {"track_commit_timestamp": "on", "max_wal_size": "4GB"}
DLQ_TOPIC = "event-dlq"


@dataclass
class Stage:
    """Running servers, and the topics filled so far."""

    kafka: EmbeddedKafka
    postgres: EmbeddedPostgres
    folder: Path
    synchronous_commit: bool = True
    """Whether a commit waits for the disk: the database's default, so what holds for one contestant holds for all."""
    topics: set[str] = field(default_factory=set)

    @property
    def bootstrap_servers(self) -> str:
        return self.kafka.bootstrap_servers

    @property
    def url(self) -> str:
        return self.postgres.url

    def fill(self, backlog: Backlog) -> str:
        """Produce a backlog once; return its topic."""
        if backlog.topic not in self.topics:
            self.topics.add(fill(self.bootstrap_servers, backlog))
        return backlog.topic

    def set_synchronous_commit(self, *, on: bool) -> None:
        """Change the default of the sessions that begin from now on."""
        with self.connect() as connection:
            name = connection.info.dbname
            connection.execute(f"ALTER DATABASE {name} SET synchronous_commit TO {'on' if on else 'off'}")
        self.synchronous_commit = on

    def connect(self, schema: str | None = None) -> psycopg.Connection[tuple[object, ...]]:
        options = f"-c search_path={schema}" if schema else ""
        return psycopg.connect(self.url, autocommit=True, options=options)


@contextmanager
def open_stage(*, synchronous_commit: bool = True) -> Iterator[Stage]:
    """Start both servers."""
    with (
        EmbeddedKafka(jvm_options=BROKER_JVM) as kafka,
        EmbeddedPostgres(settings=DATABASE) as postgres,
        tempfile.TemporaryDirectory() as folder,
    ):
        create(kafka.bootstrap_servers, DLQ_TOPIC, 1, DEAD_LETTER_TOPIC_CONFIG)
        stage = Stage(kafka, postgres, Path(folder))
        stage.set_synchronous_commit(on=synchronous_commit)
        yield stage
