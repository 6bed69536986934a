"""Every setting, once: effect, unit, default and why. Read from the environment, ``.env`` and ``keepstream.toml``.

A nested setting's variable is its path: ``KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS``, ``KEEPSTREAM_WORKER__BATCH_SIZE``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Container
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from keepstream.app.config.base import Bytes, Seconds, Section
from keepstream.app.config.kafka import KafkaSecuritySettings
from keepstream.app.config.postgres import PostgresSettings
from keepstream.app.config.web import WebSettings

FILE = Path("keepstream.toml")
TABLE = "keepstream"


class SettingsFileError(Exception):
    """The settings file is invalid or cannot be read."""


def settings_in_file(known: Container[str]) -> dict[str, Any]:
    """Return the settings of the file, none without it; sections are checked later. Raises SettingsFileError."""
    try:
        content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsFileError(f"{FILE} cannot be read: {error}") from None
    table = content.get(TABLE)
    if not isinstance(table, dict) or len(content) > 1:
        others = ", ".join(sorted(content.keys() - {TABLE})) or "no table"
        raise SettingsFileError(
            f"{FILE} has {others}: settings stand in [{TABLE}] and in its sections, like [{TABLE}.kafka]"
        )
    for name in table:
        if name not in known:
            raise SettingsFileError(f"{FILE}: there is no setting {TABLE}.{name}")
    return table


class KafkaSettings(Section):
    """The brokers, the topics and the consumer group."""

    bootstrap_servers: Annotated[str, Field(min_length=1)] = "127.0.0.1:9092"
    """Brokers to connect to first, as ``host:port,host:port``."""
    topic: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")] = "events"
    """The topic that is consumed."""
    dlq_topic: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")] = "event-dlq"
    """The topic that takes dead letters."""
    group_id: Annotated[str, Field(min_length=1)] = "keepstream"
    """The consumer group. Workers of one group share the partitions."""
    group_instance_id: str | None = None
    """A name that survives a restart (static membership): no rebalance if the worker is killed and back within the
    session timeout. Must differ per worker. Default none: a killed worker leaves after the session timeout, and all
    partitions are reassigned."""
    leave_on_stop: bool = True
    """Whether a worker that is asked to stop (SIGTERM) leaves the group, so that the others take its partitions at
    once. ``false``, with a ``group_instance_id``: they wait for its successor, and no other worker is disturbed."""
    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    """Where to begin a partition that was never consumed. Default ``earliest``: nothing is skipped."""
    on_gap: Literal["continue", "stop"] = "continue"
    """What to do when records are missing that were never read: retention deleted them, or the topic ends before the
    stored offset or has another id, for it was re-created. ``continue`` logs it, counts it in
    `keepstream_offset_gap_events` and reads what is left: waiting would only lose more. ``stop`` ends the worker with
    exit code 70 before it reads anything, until an operator sets ``continue``."""
    session_timeout_s: Seconds = 10.0
    """A worker that is silent for so long loses its partitions. 10 s: a killed worker is replaced quickly; a garbage
    collection or a slow disk does not cost a rebalance."""
    heartbeat_interval_s: Seconds = 2.0
    """Time between heartbeats to the group coordinator; at most a third of the session timeout."""
    request_timeout_s: Seconds = 30.0
    """How long one request to a broker may take. Must exceed the session timeout."""
    commit_interval_s: Seconds = 1.0
    """How often settled offsets are committed to Kafka: for lag tools, and with the first offset that was read, should
    PostgreSQL lose a partition's row. Settled offsets are in PostgreSQL, so a late commit loses nothing."""
    fetch_max_bytes: Bytes = 1024 * 1024
    """Most bytes of one partition per fetch. Larger records still arrive, one at a time."""
    unpack_max_bytes: Bytes = 32 * 1024 * 1024
    """Most bytes that one compressed batch may unpack to. A partition whose next batch is larger is paused, and the
    others go on. 32 MiB: clients send batches of up to 1 MiB before compression, and a megabyte of malicious zstd
    holds gigabytes."""
    dlq_timeout_s: Seconds = 10.0
    """How long the broker may take to confirm a dead letter before the partition is paused and it is tried again."""
    security: KafkaSecuritySettings = KafkaSecuritySettings()
    """TLS and SASL."""

    @model_validator(mode="after")
    def _timeouts_fit(self) -> Self:
        if self.session_timeout_s >= self.request_timeout_s:
            raise ValueError("request_timeout_s must be greater than session_timeout_s")
        if self.heartbeat_interval_s * 3 > self.session_timeout_s:
            raise ValueError("heartbeat_interval_s must be at most a third of session_timeout_s")
        if self.topic == self.dlq_topic:
            raise ValueError("dlq_topic must differ from topic, or dead letters would be consumed for ever")
        self.security.refuse_plaintext_to(self.bootstrap_servers)
        return self


class RetrySettings(Section):
    """How often one step is tried: capped exponential backoff with full jitter."""

    max_retries: Annotated[int, Field(ge=0, le=100)] = 3
    """Attempts after the first one."""
    base_s: Seconds = 0.1
    """The first wait is drawn from zero to this; each further limit doubles."""
    cap_s: Seconds = 5.0
    """The longest wait."""
    attempt_timeout_s: Seconds = 10.0
    """One attempt may take this long."""
    budget_s: Seconds = 30.0
    """All attempts and waits of a step for one batch may take this long; then the database's health decides whether
    the record is to blame (dead letter) or the environment (pause)."""


class WorkerSettings(Section):
    """Batches, memory and shutdown of a worker."""

    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Workers that one command runs, a process each. One fills a core. Beyond 1, ``http.port`` is the first one's and
    the others follow, and ``kafka.group_instance_id`` gets each one's number. Default 1:
    an orchestrator starts its own replicas."""
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Most records per batch and transaction. A partial batch never waits to fill up."""
    batch_max_bytes: Bytes = 2 * 1024 * 1024
    """Most bytes of values per batch; keeps a batch of large records within PostgreSQL's limits. Memory holds about
    four copies of it per partition: 2 MiB keep a worker of eight partitions under 300 MB, also on a busy
    machine."""
    buffer_bytes: Bytes = 32 * 1024 * 1024
    """Most memory that the queues of all partitions may hold, records' overhead included."""
    drain_timeout_s: Seconds = 10.0
    """After SIGTERM, batches in flight may take this long. What is not settled is read again by the next owner."""
    flood_limit: Annotated[int, Field(ge=0)] = 5_000
    """A partition is paused when more than so many of its last ``flood_window`` records would be dead letters: then a
    producer's contract or the table is broken, not the records. Default half of them; 0 switches it off. Paused records
    are validated again after a restart."""
    flood_window: Annotated[int, Field(ge=1)] = 10_000
    """The offset range of a partition that ``flood_limit`` applies to. Large enough for a burst of bad records to
    pass as dead letters, small enough to notice within a second that everything is bad."""
    loop_timeout_s: Seconds = 30.0
    """An event loop that is blocked for this long ends the worker with exit code 70 and its stack in the log. By then
    its partitions were reassigned (``kafka.session_timeout_s``), and ``/livez`` has failed for a while."""
    progress_timeout_s: Seconds = 300.0
    """A partition with records to settle whose offset does not move for this long ends the worker with exit code 70:
    its successor fetches them again. Not while the partition is paused, while attempts are retried, or while Kafka or
    PostgreSQL do not answer. Well above a step's ``budget_s``. A worker that is no member of its consumer group for
    this long, while Kafka answers, ends too."""
    store_retry: RetrySettings = RetrySettings()
    """Retry policy of the store step."""
    metrics_retry: RetrySettings = RetrySettings()
    """Retry policy of the metrics step."""


class HttpSettings(Section):
    """The endpoint for ``/metrics``, ``/livez`` and ``/readyz``."""

    host: str = "127.0.0.1"
    """The address to bind. Loopback by default: the endpoint has no authentication."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 9108
    """The port to bind; 0 takes a free one and logs it."""
    enabled: bool = True
    """Whether to serve at all."""


class TracesSettings(Section):
    """OpenTelemetry, with the extra ``otel``. Its own variables, ``OTEL_*``, set the endpoint and the rest."""

    enabled: bool = False
    """Whether batches and records become spans. Default off: nothing of OpenTelemetry is imported."""


class LogSettings(Section):
    """The log, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe line that is written."""
    format: Literal["auto", "json", "console"] = "auto"
    """``auto`` writes JSON unless stderr is a terminal."""
    worker: str | None = None
    """A name in each line. `keepstream worker --workers` gives each of its processes its number."""


class Settings(BaseSettings):
    """The tree of all settings."""

    model_config = SettingsConfigDict(
        env_prefix="KEEPSTREAM_",
        env_nested_delimiter="__",
        env_file=".env",
        extra="ignore",  # .env may hold other programs' variables
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    """Kafka."""
    postgres: PostgresSettings = Field(default_factory=PostgresSettings)  # not at import: it reads PG* variables
    """PostgreSQL."""
    worker: WorkerSettings = WorkerSettings()
    """The worker."""
    http: HttpSettings = HttpSettings()
    """The metrics endpoint."""
    web: WebSettings = WebSettings()
    """The console."""
    log: LogSettings = LogSettings()
    """Logging."""
    traces: TracesSettings = TracesSettings()
    """Tracing."""
    contract: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    """A contract for another event shape, as ``module:Class`` (docs/own-events.md). Default none: the README's."""
    steps: tuple[str, ...] = ()
    """Transforms between validate and store: names of entry points of the group ``keepstream.steps``, as a JSON list,
    in their order. An installed transform does not run unless it is named here."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource, **named: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put ``keepstream.toml`` below all else. Raises SettingsFileError."""
        in_file = InitSettingsSource(settings_cls, settings_in_file(settings_cls.model_fields))
        return (*sources, *named.values(), in_file)
