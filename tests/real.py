"""The real parts: a broker and a database for the session, topics and schemas per test."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import psycopg
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from psycopg import sql

from keepstream.app.embedded.kafka import EmbeddedKafka
from keepstream.app.embedded.postgres import EmbeddedPostgres
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.postgres.migrate import migrate


@dataclass(frozen=True)
class Servers:
    """Addresses, and the embedded services behind them where we started them."""

    bootstrap_servers: str
    postgres_url: str
    kafka: EmbeddedKafka | None
    postgres: EmbeddedPostgres | None


@contextmanager
def start_servers() -> Iterator[Servers | str]:
    """Yield servers, or the reason why there are none.

    Addresses in the environment win. The rest is started: as containers where KEEPSTREAM_TEST_SERVERS=docker asks for
    them, else embedded.
    """
    from keepstream.app.embedded import EmbeddedUnavailableError
    from tests.containers import DockerUnavailableError

    given = os.environ.get("KEEPSTREAM_TEST_BOOTSTRAP_SERVERS"), os.environ.get("KEEPSTREAM_TEST_POSTGRES_URL")
    context = way_to_start(os.environ)(*given)
    try:
        servers = context.__enter__()
    except (EmbeddedUnavailableError, DockerUnavailableError) as missing:
        yield str(missing)
        return
    try:
        yield servers
    finally:
        context.__exit__(None, None, None)


WayToStart: TypeAlias = "Callable[[str | None, str | None], AbstractContextManager[Servers]]"
"""Takes addresses of Kafka and of PostgreSQL, starts what has none."""


def way_to_start(environment: Mapping[str, str]) -> WayToStart:
    """Return how servers are started. Raises ValueError for a word that nobody knows."""
    from tests.containers import container_servers

    ways: dict[str, WayToStart] = {"embedded": _embedded_servers, "docker": container_servers}
    wanted = environment.get("KEEPSTREAM_TEST_SERVERS", "embedded")
    if wanted not in ways:
        raise ValueError(f"KEEPSTREAM_TEST_SERVERS: {wanted!r} is none of {', '.join(ways)}")
    return ways[wanted]


@contextmanager
def _embedded_servers(bootstrap_servers: str | None, postgres_url: str | None) -> Iterator[Servers]:
    from keepstream.app.embedded.services import embedded_services

    with embedded_services(bootstrap_servers=bootstrap_servers, postgres_url=postgres_url) as services:
        yield Servers(services.bootstrap_servers, services.postgres_url, services.kafka, services.postgres)


class Kafka:
    """Topics, records in, records out."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers})

    def new_topic(self, partitions: int = 1, name: str = "events", config: Mapping[str, str] | None = None) -> str:
        """Create a topic whose name nobody else has."""
        topic = f"{name}-{uuid.uuid4().hex[:12]}"
        self.create_topic(topic, partitions, config)
        return topic

    def create_topic(self, topic: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Create a topic of this very name."""
        new = NewTopic(topic, partitions, 1, config=dict(config or {}))
        self._admin.create_topics([new])[topic].result(timeout=30)

    def produce(
        self,
        topic: str,
        values: Iterable[bytes | None],
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Produce values and wait until all are acknowledged."""
        producer = Producer({"bootstrap.servers": self.bootstrap_servers, "linger.ms": 5, **(settings or {})})
        extra: dict[str, Any] = {} if partition is None else {"partition": partition}
        failures: list[KafkaError] = []
        for value in values:
            producer.produce(
                topic,
                value,
                key,
                headers=[*headers],
                timestamp=timestamp,
                on_delivery=lambda e, _m: failures.extend([e] if e else []),
                **extra,
            )
            producer.poll(0)
        assert producer.flush(60) == 0
        assert not failures, failures

    def produce_in_transactions(self, topic: str, batches: Iterable[Iterable[bytes]]) -> None:
        """Produce each batch in a transaction of its own and abort every second one."""
        producer = Producer({"bootstrap.servers": self.bootstrap_servers, "transactional.id": topic, "linger.ms": 5})
        producer.init_transactions(30)
        for number, batch in enumerate(batches):
            producer.begin_transaction()
            for value in batch:
                producer.produce(topic, value)
            producer.flush()
            if number % 2:
                producer.abort_transaction()
            else:
                producer.commit_transaction()

    def committed_lag(self, group_id: str, topic: str) -> int:
        """Return the records between the group's committed offsets and the end of the topic."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": group_id})
        try:
            places = [
                TopicPartition(topic, p) for p in consumer.list_topics(topic, timeout=30).topics[topic].partitions
            ]
            committed = {tp.partition: max(tp.offset, 0) for tp in consumer.committed(places, timeout=30)}
            ends = {tp.partition: consumer.get_watermark_offsets(tp, timeout=30)[1] for tp in places}
            return sum(end - committed[partition] for partition, end in ends.items())
        finally:
            consumer.close()

    def read(self, topic: str) -> list[KafkaRecord]:
        """Return everything the topic holds right now."""
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap_servers, "group.id": "reader", "enable.auto.commit": False}
        )
        try:
            return list(self._read(consumer, topic))
        finally:
            consumer.close()

    def _read(self, consumer: Consumer, topic: str) -> Iterator[KafkaRecord]:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        for partition in partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
            consumer.assign([TopicPartition(topic, partition, low)])
            while consumer.position([TopicPartition(topic, partition)])[0].offset < high:
                if high == low:
                    break
                message = consumer.poll(10)
                if message is None:
                    break
                if error := message.error():
                    raise AssertionError(error)
                yield KafkaRecord(
                    topic, partition, message.offset() or 0, message.timestamp()[1], message.key(), message.value(),
                    message.headers() or [],  # type: ignore[arg-type]
                )  # fmt: skip


class Postgres:
    """A server on which tests make schemas."""

    def __init__(self, url: str, store_url: str | None = None) -> None:
        self.url, self.store_url = url, store_url or url

    @contextmanager
    def new_schema(self) -> Iterator[Database]:
        """Create and migrate a schema, and drop it afterwards."""
        name = f"t_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            migrate(connection, name)
        database = Database(self.url, name, self.store_url)
        try:
            yield database
        finally:  # a new connection: a test may have restarted the server
            database.close()
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


@dataclass(frozen=True)
class Database:
    """One migrated schema."""

    url: str
    schema: str
    store_url: str | None = None
    """The way of a store to it, for example through a pooler; None is the ``url``."""
    _kept: list[psycopg.Connection[tuple[Any, ...]]] = field(default_factory=list, compare=False, repr=False)
    """At most one: a test asks many times a second, and to connect costs more than the question."""

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect with the schema as search path, in autocommit."""
        return psycopg.connect(self.url, autocommit=True, options=f"-c search_path={self.schema} -c timezone=UTC")

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return the result, over a kept connection; once more over a new one where that has been lost."""
        if self._kept:
            try:
                return self._kept[0].execute(query, parameters).fetchall()
            except psycopg.OperationalError:
                if not self._kept[0].broken:
                    raise
                self.close()
        self._kept.append(self.connect())
        self._kept[0].prepare_threshold = None  # a test may change its tables
        return self._kept[0].execute(query, parameters).fetchall()

    def close(self) -> None:
        while self._kept:
            self._kept.pop().close()

    def __del__(self) -> None:
        self.close()

    def value(self, query: str, *parameters: object) -> Any:
        return self.rows(query, *parameters)[0][0]

    def execute(self, query: str, *parameters: object) -> None:
        with self.connect() as connection:
            connection.execute(query, parameters)

    def totals(self) -> dict[str, int]:
        """Return the exact counters, summed over partitions."""
        names = ("total", "delivered", "failed", "duplicate", "stale", "updated", "ignored")
        found = self.value("SELECT to_jsonb(t) FROM event_totals t")  # an older schema may lack the newest of them
        return {name: found.get(name, 0) for name in names}


def eventually(condition: Callable[[], object], timeout_s: float = 30.0, what: str = "") -> None:
    """Poll until the condition holds. Raises AssertionError with its last value when it does not in time."""
    begin = time.monotonic()
    seen: object = None
    while (waited_s := time.monotonic() - begin) < timeout_s:
        seen = condition()
        if seen:
            return
        time.sleep(min(0.5, max(0.05, waited_s / 20)))
    raise AssertionError(f"not within {timeout_s:g} s: {what or condition} (last: {seen!r})")
