"""``keepstream events``: produces, validates, lists and shows events."""

from __future__ import annotations

import json
import os
from typing import IO, TYPE_CHECKING, Any

import click

from keepstream.app.cli.events_validate import validate
from keepstream.app.cli.options import time_option
from keepstream.app.cli.output import json_option, load_services, load_settings, print_json, print_rows
from keepstream.app.cli.tables import print_fields
from keepstream.app.cli.topic_option import one_topic, topic_option
from keepstream.app.cli.types import COUNT, Topic
from keepstream.app.errors import NOT_FOUND, KeepstreamError
from keepstream.schemas.record import is_text

if TYPE_CHECKING:
    from keepstream.app.connect.services import Services


FLUSH_TIMEOUT_S = 60


@click.group()
def events() -> None:
    """Produce, validate, list and show events."""


events.add_command(validate)


@events.command("list", epilog="Example: keepstream events list --status failed --since 2h --json | jq -r .event_id")
@click.option("--status", type=click.Choice(["pending", "delivered", "failed"]), help="Only events with this status.")
@click.option("--correlation-id", metavar="TEXT", help="Only events with this correlation id.")
@time_option("--since", help="Created at or after TIME: 2h, 7d (ago), or 2026-11-24T10:00:00Z.")
@time_option("--until", help="Created before TIME.")
@click.option("--limit", type=COUNT, default=50, show_default=True, help="Most events to list.")
@topic_option
@json_option
def list_events(*, as_json: bool, **conditions: Any) -> None:  # noqa: ANN401 - of EventSearch.matching
    """List events that are stored, newest first by the event's own time. `events show` adds the payload."""
    from keepstream.sinks.postgres.events import EventSearch

    with load_services().postgres() as connection:
        print_rows(EventSearch(connection).matching(conditions), as_json=as_json)


@events.command(epilog="Example: jq -c .[] orders.json | keepstream events produce - --key-field event_id")
@click.argument("source", type=click.File("rb"))
@click.option("--topic", type=Topic(), help="Any topic. Default: the one of the settings.")
@click.option("--key-field", help="Top-level field whose text becomes the record's key.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="Header of every record; repeatable.")
@json_option
def produce(
    *, source: IO[bytes], topic: str | None, key_field: str | None, headers: tuple[str, ...], as_json: bool
) -> None:
    """Produce each line of SOURCE (a file, or - for stdin) as one record, byte for byte.

    Lines are not validated: any bytes can be produced. Exit 1 when a record was not acknowledged.
    """
    from keepstream.app.connect.services import Services

    settings = load_settings()
    services, target = Services(settings), topic or one_topic(settings).kafka.topic
    services.admin()
    acknowledged, refused = _produce(services, target, source, key_field, _headers(headers))
    print_rows([{"topic": target, "acknowledged": acknowledged, "refused": len(refused)}], as_json=as_json)
    if refused:
        raise KeepstreamError("not_acknowledged", f"{len(refused)} records were refused, the first: {refused[0]}")


@events.command(epilog="Example: keepstream events show order-4711 --json | jq .event.status")
@click.argument("event_id")
@topic_option
@json_option
def show(*, event_id: str, as_json: bool) -> None:
    """Show the row and the dead letters of an event; exit 3 when there is neither."""
    from keepstream.sinks.postgres.events import EventSearch

    with load_services().postgres() as connection:
        search = EventSearch(connection)
        row, dead_letters = search.event(event_id), search.deaths(event_id)
    if not row and not dead_letters:
        message = f"no row and no dead letter has event_id {event_id!r}"
        raise KeepstreamError("unknown_event", message, "it may not be consumed yet: see `keepstream lag`", NOT_FOUND)
    if as_json:
        print_json({"event": row, "dead_letters": dead_letters})
        return
    if row:
        print_fields(row)
    for dead_letter in dead_letters:
        click.echo("\nDead letter")
        print_fields(dead_letter)


def _produce(
    services: Services, topic: str, source: IO[bytes], key_field: str | None,
    headers: list[tuple[str, str | bytes | None]],
) -> tuple[int, list[str]]:  # fmt: skip
    from confluent_kafka import KafkaError, KafkaException, Message, Producer

    producer = Producer({
        **services.kafka.config, "enable.idempotence": True, "linger.ms": 20,
        "partitioner": "murmur2_random",  # as Java clients and the replay partition: order by key survives a replay
        "log_level": 3,  # errors: a new broker's refusal of the first producer id is a warning, and retried
    })  # fmt: skip
    acknowledged, refused = 0, []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        nonlocal acknowledged
        if error is None:
            acknowledged += 1
        else:
            refused.append(error.str())

    for value in filter(None, (line.rstrip(b"\r\n") for line in source)):
        try:
            _send(producer, topic, value, key=_key(value, key_field), headers=headers, on_delivery=delivered)
        except KafkaException as error:  # too large
            refused.append(error.args[0].str())
    left = producer.flush(FLUSH_TIMEOUT_S)
    return acknowledged, refused + ["the broker did not confirm it in time"] * left


def _send(producer: Any, topic: str, value: bytes, **options: Any) -> None:  # noqa: ANN401
    while True:
        try:
            producer.produce(topic, value, **options)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def _key(value: bytes, field: str | None) -> bytes | None:
    try:
        found = json.loads(value).get(field) if field else None
    except (ValueError, AttributeError, RecursionError):  # no JSON, no object, nested too deeply: no key
        return None
    return None if found is None else str(found).encode()


def _headers(given: tuple[str, ...]) -> list[tuple[str, str | bytes | None]]:
    pairs: list[tuple[str, str | bytes | None]] = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--header")
        if not is_text(name):
            raise click.BadParameter(f"{name!r} is not text, which a name has to be", param_hint="--header")
        pairs.append((name, os.fsencode(value)))
    return pairs
