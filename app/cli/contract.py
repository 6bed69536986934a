"""``keepstream contract``: what the topic accepts, for its producers."""

from __future__ import annotations

import json

import click

from keepstream.app.cli.output import load_settings
from keepstream.app.cli.topic_option import one_topic, topic_option


@click.group()
def contract() -> None:
    """Export what the topic accepts."""


@contract.command(epilog="Example: keepstream contract export --format asyncapi > orders.asyncapi.json")
@click.option("--format", "form", type=click.Choice(["json-schema", "asyncapi"]), default="json-schema",
              show_default=True, help="JSON Schema 2020-12 of the value, or AsyncAPI 3.0 of the topic.")  # fmt: skip
@topic_option
def export(*, form: str) -> None:
    """Print what the topic accepts under these settings: the default contract, a mapping, or a contract of yours.

    It is JSON. docs/own-events.md lists what a schema cannot say.
    """
    all_settings = load_settings()
    settings = one_topic(all_settings)
    from keepstream.app.config.contract import load_contract
    from keepstream.app.config.contract_schema import asyncapi, json_schema

    topic = settings.kafka.topic if all_settings.topics else None
    load_contract(settings, topic)  # a transform or a hook that cannot be imported is reported here as by a worker
    found = json_schema(settings) if form == "json-schema" else asyncapi(settings)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))
