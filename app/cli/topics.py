"""``keepstream topics``: the topics that are consumed and those that take dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from keepstream.app.cli.output import (
    json_option,
    load_services_of_topics,
    print_rows,
    wait_option,
    wait_until_reachable,
)
from keepstream.app.cli.topic_option import only_topic_option
from keepstream.app.errors import KeepstreamError
from keepstream.schemas.replay import PARKING_SUFFIX

if TYPE_CHECKING:
    from keepstream.app.connect.services import Services
    from keepstream.sinks.kafka.admin import KafkaAdmin


@click.group()
def topics() -> None:
    """Create and check the topics."""


@topics.command(epilog="Example: keepstream topics ensure --partitions 8 --replication 3")
@click.option("--partitions", type=click.IntRange(1, 10_000), default=8, show_default=True,
              help="Partitions of a new topic; existing topics are not changed.")  # fmt: skip
@click.option("--replication", type=click.IntRange(1, 10), default=1, show_default=True,
              help="Replicas of each partition; 3 in production.")  # fmt: skip
@wait_option
@only_topic_option
@json_option
def ensure(*, partitions: int, replication: int, wait_s: float, as_json: bool) -> None:
    """Create missing topics. Dead letters are kept until they are purged (retention.ms=-1), and dated by the broker."""
    from confluent_kafka import KafkaException

    from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG

    services = load_services_of_topics()
    admin = wait_until_reachable(services.admin, wait_s)
    rows = []
    for name, dead_letters in _names(services, parked=True):
        try:
            config = DEAD_LETTER_TOPIC_CONFIG if dead_letters else {}
            created = admin.create_topic(name, partitions, replication, config)
        except KafkaException as error:
            why, hint = services.explain(error)
            raise KeepstreamError("topic_not_created", f"topic {name!r} was not created: {why}", hint) from None
        rows.append({"topic": name, "state": "created" if created else "exists"})
    print_rows(rows, as_json=as_json)


def _names(services: Services, *, parked: bool) -> Iterator[tuple[str, bool]]:
    """Yield the name of each topic, and whether it takes dead letters; parked ones have a topic of their own."""
    for view in services.settings.by_topic().values():
        kafka = view.kafka
        yield from ((kafka.topic, False), (kafka.dlq_topic, True))
        if parked:
            yield kafka.dlq_topic + PARKING_SUFFIX, True


@topics.command(epilog="Example: keepstream topics status --json")
@only_topic_option
@json_option
def status(*, as_json: bool) -> None:
    """Show the partitions and the configuration of the topics; exit 1 when one is missing."""
    services = load_services_of_topics()
    admin = services.admin()
    with services.kafka_errors():
        rows = [_describe(admin, name) for name, _ in _names(services, parked=False)]
    print_rows(rows, as_json=as_json)
    missing = [row["topic"] for row in rows if row["partitions"] is None]
    if missing:
        names = ", ".join(map(str, missing))
        raise KeepstreamError("topic_missing", f"missing topics: {names}", "run `keepstream topics ensure`")


def _describe(admin: KafkaAdmin, name: str) -> dict[str, Any]:
    from keepstream.sinks.kafka.admin import TopicMissingError

    try:
        partitions = admin.partitions(name)
    except TopicMissingError:
        return {"topic": name, "partitions": None, "retention_ms": None, "max_message_bytes": None}
    config = admin.topic_config(name)
    return {
        "topic": name, "partitions": len(partitions), "retention_ms": int(config["retention.ms"]),
        "max_message_bytes": int(config["max.message.bytes"]),
    }  # fmt: skip
