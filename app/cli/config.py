"""``keepstream config``: the settings, explained."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from keepstream.app.cli.output import json_option, load_settings, notify, print_rows

if TYPE_CHECKING:
    from pydantic import BaseModel


@click.group()
def config() -> None:
    """Show the settings."""


@config.command(epilog="Example: keepstream config show --json | jq -r .variable")
@json_option
@click.option("--explain", is_flag=True, help="Explain each setting: effect, unit, default and why.")
def show(*, as_json: bool, explain: bool) -> None:
    """List every setting: its environment variable, value and origin. Secrets are hidden."""
    from keepstream.app.config.settings import Settings, settings_in_file
    from keepstream.app.config.variables import environment, file_read, unread_variables

    settings = load_settings()
    rows = list(settings_rows(settings, "KEEPSTREAM_", settings_in_file(Settings.model_fields)))
    if not (explain or as_json):
        for row in rows:
            del row["meaning"]
    if explain and not as_json and sys.stdout.isatty():
        _print_meanings(rows)
    else:
        print_rows(rows, as_json=as_json)
    notify(f"settings file: {file_read()}")
    for sentence in unread_variables(environment()):
        notify(f"warning: {sentence}")


def _print_meanings(rows: Iterable[Mapping[str, str]]) -> None:
    """Print each setting above its meaning, which no column of a terminal has room for."""
    width = shutil.get_terminal_size().columns
    for row in rows:
        click.echo(f"{row['variable']}={row['value']}  ({row['origin']})")
        click.echo(click.formatting.wrap_text(row["meaning"], width, "    ", "    ") + "\n")


def _written(value: object) -> str:
    """Return a value as its variable would hold it."""
    if isinstance(value, str) or value is None:
        return value or ""
    return json.dumps(value, default=_plain) if isinstance(value, bool | list | tuple | dict) else str(value)


def _plain(value: object) -> object:
    """Return a part of a list or a table: a section without what it does not set; a secret stays hidden."""
    from pydantic import BaseModel

    return value.model_dump(mode="json", exclude_unset=True) if isinstance(value, BaseModel) else str(value)


def settings_rows(
    model: BaseModel, prefix: str, in_file: Mapping[str, Any] | None = None, *, only_set: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield a row per leaf of the settings tree; of several topics what each sets. ``in_file``: what the file has."""
    from pydantic import BaseModel

    for name, field in type(model).model_fields.items():
        value, variable, written = getattr(model, name), f"{prefix}{name}".upper(), (in_file or {}).get(name)
        if only_set and name not in model.model_fields_set:
            continue
        if isinstance(value, BaseModel):
            yield from settings_rows(value, f"{variable}__", written, only_set=only_set)
            continue
        if name == "topics" and value:
            for topic, own in value.items():
                yield from _topic_rows(topic, own, (written or {}).get(topic))
            continue
        origin = "default" if value == field.default else "set" if written is None else "file"
        meaning = " ".join(inspect.cleandoc(field.description or "").split())
        origin = "environment" if variable in os.environ else origin
        yield {"variable": variable, "value": _written(value), "origin": origin, "meaning": meaning}


def _topic_rows(topic: str, own: BaseModel, in_file: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yield a row per setting of a topic, or one of a topic that sets nothing."""
    variable = f"KEEPSTREAM_TOPICS__{topic.upper()}"
    meaning = "A topic of several, which sets nothing of its own."
    nothing = {"variable": variable, "value": "{}", "origin": "set" if in_file is None else "file", "meaning": meaning}
    for row in [*settings_rows(own, f"{variable}__", in_file, only_set=True)] or [nothing]:
        if topic != topic.lower():  # a variable's name is read in lower case: only the file reaches this topic
            path = row["variable"].removeprefix(variable).lower().replace("__", ".")
            row["variable"] = f"topics.{topic}{path}"
        yield row
