"""``keepstream topics``: the topic that is consumed and the one that takes dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from keepstream.app.cli.output import json_option, load_settings, print_rows
from keepstream.app.connect.connections import admin_client
from keepstream.app.errors import FAILED, KeepstreamError

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

DLQ_MAX_MESSAGE_BYTES = 2 * 1024 * 1024
"""A dead letter is its record plus our headers: twice the broker's default of 1 MiB takes all that the source took."""
FOREVER = -1


@click.group()
def topics() -> None:
    """Create and check the topics."""


@topics.command(epilog="Example: keepstream topics ensure --partitions 8 --replication 3")
@click.option("--partitions", type=click.IntRange(1, 10_000), default=8, show_default=True,
              help="Of a topic that is created; an existing one is left as it is.")  # fmt: skip
@click.option("--replication", type=click.IntRange(1, 10), default=1, show_default=True,
              help="Copies of each partition; 3 in production.")  # fmt: skip
@json_option
def ensure(*, partitions: int, replication: int, as_json: bool) -> None:
    """Create what is missing. Dead letters are kept until they are purged (retention.ms=-1)."""
    kafka = load_settings().kafka
    admin = admin_client(kafka)
    rows = []
    for name, config in _wanted(kafka.topic, kafka.dlq_topic).items():
        created = _create(admin, name, partitions, replication, config)
        rows.append({"topic": name, "state": "created" if created else "exists"})
    print_rows(rows, as_json=as_json)


@topics.command(epilog="Example: keepstream topics status --json")
@json_option
def status(*, as_json: bool) -> None:
    """Show partitions and what matters of the configuration; exit 1 when a topic is missing."""
    kafka = load_settings().kafka
    admin = admin_client(kafka)
    rows = [_describe(admin, name) for name in (kafka.topic, kafka.dlq_topic)]
    print_rows(rows, as_json=as_json)
    missing = [row["topic"] for row in rows if row["partitions"] is None]
    if missing:
        names = ", ".join(map(str, missing))
        raise KeepstreamError("topic_missing", f"missing: {names}", "run `keepstream topics ensure`", FAILED)


def _wanted(topic: str, dlq_topic: str) -> dict[str, dict[str, str]]:
    from keepstream.schemas.replay import PARKING_SUFFIX

    kept = {"retention.ms": str(FOREVER), "max.message.bytes": str(DLQ_MAX_MESSAGE_BYTES)}
    return {topic: {}, dlq_topic: kept, dlq_topic + PARKING_SUFFIX: kept}


def _create(admin: AdminClient, name: str, partitions: int, replication: int, config: dict[str, str]) -> bool:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.cimpl import NewTopic

    new = NewTopic(name, partitions, replication, config=config)
    try:
        admin.create_topics([new])[name].result(timeout=30)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise KeepstreamError("topic_not_created", f"topic {name!r} was not created: {error.args[0].str()}") from None
    return True


def topic_config(admin: AdminClient, name: str) -> dict[str, str]:
    """Return the topic's settings by name. Raises KafkaException, also where we may not ask."""
    from confluent_kafka.admin._config import ConfigResource
    from confluent_kafka.admin._resource import ResourceType

    resource = ConfigResource(ResourceType.TOPIC, name)
    entries = admin.describe_configs([resource])[resource].result(timeout=10)
    return {name: entry.value for name, entry in entries.items()}


def _describe(admin: AdminClient, name: str) -> dict[str, Any]:
    found = admin.list_topics(timeout=10).topics.get(name)
    row: dict[str, Any] = {"topic": name, "partitions": None, "retention_ms": None, "max_message_bytes": None}
    if found is None or found.error is not None:
        return row
    config = topic_config(admin, name)
    return row | {
        "partitions": len(found.partitions),
        "retention_ms": int(config["retention.ms"]),
        "max_message_bytes": int(config["max.message.bytes"]),
    }
