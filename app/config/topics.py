"""The settings of each topic, where a worker consumes several: `[keepstream.topics."shop.orders"]`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from keepstream.app.config.base import Section
from keepstream.app.config.kafka import TopicName
from keepstream.app.config.mapping import MappingSettings
from keepstream.app.config.postgres import PostgresSettings, place
from keepstream.app.config.table import TableSettings
from keepstream.app.errors import KeepstreamError

SCHEMA_PREFIX = "keepstream_"
_LONGEST_SCHEMA = 63
"""PostgreSQL's limit of an identifier, in bytes."""


class TopicSettings(Section):
    """What one topic of several has of its own. Everything else is shared: brokers, group, worker, console."""

    dlq_topic: TopicName | None = None
    """The topic that takes its dead letters. Default: its name with ``-dlq``."""
    postgres: PostgresSettings = Field(default_factory=PostgresSettings)
    """Its database, where that is another one: fields that are not set here are those of ``[keepstream.postgres]``.
    Its ``schema_name`` is by default the topic's name after ``keepstream_``, lower-case, with ``_`` for other signs."""
    mapping: MappingSettings = MappingSettings()
    """The shape of its events."""
    contract: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    """A contract for its events, as ``module:Class``. Default none: docs/events.md."""
    decode: Annotated[str, Field(pattern=r"^(gzip|[\w.]+:\w+)$")] | None = None
    """A hook that returns what is inside a value. Default none."""
    steps: tuple[str, ...] = ()
    """Transforms of its events, in their order. Default none."""
    table: TableSettings = TableSettings()
    """A table of yours that its events fill. Default none."""

    def dead_letters_of(self, topic: str) -> str:
        return self.dlq_topic or f"{topic}-dlq"

    def database_of(self, topic: str, shared: PostgresSettings) -> PostgresSettings:
        """Return the topic's database: the shared settings, with what the topic sets itself."""
        own = {name: getattr(self.postgres, name) for name in self.postgres.model_fields_set}
        if "url" in own:  # another server has another password
            own = {"password_file": None, "allow_insecure_credentials": False, **own}
        return shared.model_copy(update={"schema_name": default_schema(topic), **own})


TopicsSettings = dict[TopicName, TopicSettings]


def default_schema(topic: str) -> str:
    """Return the schema of a topic's tables."""
    return (SCHEMA_PREFIX + re.sub(r"[^a-z0-9]", "_", topic.lower()))[:_LONGEST_SCHEMA]


def name_settings_of(topic: str, text: str) -> str:
    """Return a text with the settings of a topic of several, where it names variables."""
    variable = re.compile(r"KEEPSTREAM_(?:KAFKA__)?([A-Z_]+)")
    return variable.sub(lambda found: f"topics.{topic}.{found[1].lower().replace('__', '.')}", text)


def in_topic(topic: str | None, error: KeepstreamError) -> KeepstreamError:
    """Return an error with the settings of a topic of several, where it names variables; None leaves it."""
    if topic is None:
        return error
    message, hint = name_settings_of(topic, error.message), name_settings_of(topic, error.hint)
    return KeepstreamError(error.code, message, hint, error.exit_code)


def check_topics(
    dead_letter_topics: Mapping[str, str],
    databases: Mapping[str, PostgresSettings],
    custom_tables: Mapping[str, TableSettings],
) -> None:
    """Raise ValueError where two topics would share dead letters or tables, or consume dead letters of each other."""
    names = {name.lower(): name for name in dead_letter_topics}
    for topic in dead_letter_topics:
        if names[topic.lower()] != topic:
            why = f"only its case differs from {names[topic.lower()]}: variables name topics in lower case"
            raise ValueError(f"topics.{topic}: {why}, so what is one topic would be two; use the file or JSON for it")
    _check_each_has_its_own("dlq_topic", dead_letter_topics)
    for topic, dead_letters in dead_letter_topics.items():
        if dead_letters in dead_letter_topics:
            raise ValueError(f"topics.{topic}.dlq_topic: {dead_letters} is consumed itself; name another topic")
    tables = {topic: f"schema {postgres.schema_name} at {place(postgres)}" for topic, postgres in databases.items()}
    _check_each_has_its_own("postgres.schema_name", tables)
    _check_each_has_its_own("table.name", {
        topic: f"the table {table.schema or databases[topic].schema_name}.{table.name} at {place(databases[topic])}"
        for topic, settings in custom_tables.items() if (table := settings.definition())
    })  # fmt: skip


def _check_each_has_its_own(field: str, values: Mapping[str, str]) -> None:
    users = defaultdict(list)
    for topic, value in values.items():
        users[value].append(topic)
    for value, topics in users.items():
        if len(topics) > 1:
            why = f"{' and '.join(topics)} would share {value}, and equal ids of two topics are two events"
            raise ValueError(f"topics.{topics[1]}.{field}: {why}; give each topic its own")
