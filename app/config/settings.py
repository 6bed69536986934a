"""Every setting, once: effect, unit, default and why. Read from the environment, ``.env`` and the settings file.

A nested setting's variable is its path: ``KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS``, ``KEEPSTREAM_WORKER__BATCH_SIZE``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Container
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from keepstream.app.config.base import Bytes, Seconds, Section
from keepstream.app.config.dlq_headers import DlqHeadersSettings
from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.config.mapping import MappingSettings
from keepstream.app.config.postgres import PostgresSettings
from keepstream.app.config.table import TableSettings
from keepstream.app.config.topics import TopicSettings, TopicsSettings, check_topics
from keepstream.app.config.web import WebSettings

DEFAULT_FILE = Path("keepstream.toml")
FILE_VARIABLE = "KEEPSTREAM_CONFIG"
"""Names another file; ``keepstream --config`` sets it, so that the processes that a command starts read it as well."""
TABLE = "keepstream"


class SettingsFileError(Exception):
    """The settings file is invalid or cannot be read."""


def settings_file() -> Path:
    """Return the file that the settings are read from. It must exist where it is named."""
    return Path(os.environ.get(FILE_VARIABLE) or DEFAULT_FILE)


def settings_in_file(known: Container[str]) -> dict[str, Any]:
    """Return the settings of the file, none without it; sections are checked later. Raises SettingsFileError."""
    file = settings_file()
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        if isinstance(error, FileNotFoundError) and file == DEFAULT_FILE:
            return {}
        why = error.strerror if isinstance(error, OSError) else error
        raise SettingsFileError(f"{file} cannot be read: {why}") from None
    if not content:  # as a shell leaves it before the command runs that writes it
        return {}
    table = content.get(TABLE)
    if not isinstance(table, dict) or len(content) > 1:
        others = ", ".join(sorted(content.keys() - {TABLE})) or f"no table {TABLE}"
        raise SettingsFileError(
            f"{file} has {others}: settings stand in [{TABLE}] and in its sections, like [{TABLE}.kafka]"
        )
    for name in table:
        if name not in known:
            raise SettingsFileError(f"{file}: there is no setting {TABLE}.{name}")
    return table


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
    """Most records per batch. A partial batch never waits to fill up."""
    transaction_size: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """Most records per transaction: batches of a partition that wait already are settled together, so a backlog costs
    fewer commits, and a single batch never waits for others. A transaction that PostgreSQL refuses is divided into its
    batches. Default where the rate no longer grows (docs/performance.md); 1 gives each batch a transaction."""
    batch_max_bytes: Bytes = 2 * 1024 * 1024
    """Most bytes of values per batch, and of memory per transaction of several batches; keeps a batch of large records
    within PostgreSQL's limits. Memory holds about four copies of it per partition: 2 MiB keep a worker of eight
    partitions under 300 MB, also on a busy machine."""
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
    foreign_key_wait_s: Annotated[float, Field(ge=0, le=86_400)] = 10.0
    """How long a record may wait for a row that it refers to (SQLSTATE 23503) before it becomes a dead letter; it is
    tried again up to once per second. The records of one transaction share this time, so a partition waits no longer
    for each of them; other partitions do not wait. Default above the pause of a rebalance, in which the partition with
    the other row stands; 0 makes it a dead letter at once."""
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
    dlq_headers: DlqHeadersSettings = DlqHeadersSettings()
    """Dead letters of other programs."""
    mapping: MappingSettings = MappingSettings()
    """Other event shapes, without code."""
    table: TableSettings = TableSettings()
    """A table of your own."""
    contract: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    """A contract for another event shape, as ``module:Class`` (docs/own-events.md). Default none: docs/events.md."""
    decode: Annotated[str, Field(pattern=r"^(gzip|[\w.]+:\w+)$")] | None = None
    """A hook that returns what is inside a value, before mapping and contract: ``gzip``, or a function of your own as
    ``module:function`` (docs/own-events.md). Default none: the value is the JSON."""
    steps: tuple[str, ...] = ()
    """Transforms between validate and store: names of entry points of the group ``keepstream.steps``, as a JSON list,
    in their order. An installed transform does not run unless it is named here."""
    topics: TopicsSettings = {}
    """Several topics in one worker, each with its own events, dead letters and tables (docs/topics.md). Default none:
    the one of ``kafka.topic``, by the plain settings."""

    @model_validator(mode="after")
    def _topics_fit(self) -> Self:
        if self.topics:
            for name in ("mapping", "contract", "decode", "steps", "table"):
                if name in self.model_fields_set:
                    variable = f"KEEPSTREAM_{name.upper()}"
                    raise ValueError(f"{variable}: beside topics each has its own: write it as topics.NAME.{name}")
            for section, name in (("kafka", "topic"), ("kafka", "dlq_topic"), ("postgres", "schema_name")):
                if name in getattr(self, section).model_fields_set:
                    variable = f"KEEPSTREAM_{section}__{name}".upper()
                    raise ValueError(f"{variable}: beside topics it is not read: leave it out (docs/topics.md)")
            views = self.by_topic()
            dead_letters = {topic: view.kafka.dlq_topic for topic, view in views.items()}
            databases = {topic: view.postgres for topic, view in views.items()}
            check_topics(dead_letters, databases, {topic: view.table for topic, view in views.items()})
        return self

    def by_topic(self) -> dict[str, Settings]:
        """Return the settings of each topic as if it were the only one. One topic by plain settings is one of them."""
        return {topic: self._of(topic, own) for topic, own in self.topics.items()} or {self.kafka.topic: self}

    def _of(self, topic: str, own: TopicSettings) -> Settings:
        kafka = {"topic": topic, "dlq_topic": own.dead_letters_of(topic)}
        return self.model_copy(update={
            "kafka": self.kafka.model_copy(update=kafka), "postgres": own.database_of(topic, self.postgres),
            "mapping": own.mapping, "contract": own.contract, "decode": own.decode, "steps": own.steps,
            "table": own.table, "topics": {},
        })  # fmt: skip

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource, **named: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the settings file below all else. Raises SettingsFileError."""
        in_file = InitSettingsSource(settings_cls, settings_in_file(settings_cls.model_fields))
        return (*sources, *named.values(), in_file)
