"""Settings, servers and output of the commands."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from keepstream.app.cli.tables import plain, print_columns, print_table
from keepstream.app.cli.topic_option import chosen_topic, one_topic, prefix_of
from keepstream.app.cli.types import Seconds
from keepstream.app.errors import REFUSED, UNREACHABLE, USAGE, KeepstreamError
from keepstream.schemas.json_text import json_text_of

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from keepstream.app.config.settings import Settings
    from keepstream.app.connect.services import Services
    from keepstream.app.dlq.topic import DeadLetterTopic
    from keepstream.processors.replay.selection import Selection


def print_error(error: KeepstreamError, topic: str | None = None) -> None:
    """Write an error to stderr, as JSON when the command was asked for JSON; with its topic where there are several."""
    if "--json" in sys.argv:
        fields = {"code": error.code, "message": error.message, "hint": error.hint}
        click.echo(json.dumps({"error": fields | ({"topic": topic} if topic else {})}), err=True)
        return
    click.echo(f"Error: {prefix_of(topic)}{error.message}", err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)


json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output: one JSON object per line.")


def load_settings(overrides: Mapping[str, Mapping[str, object]] | None = None) -> Settings:
    """Load the settings. Options of the command line (``{section: {field: value}}``) take precedence."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from keepstream.app.config.settings import Settings, SettingsFileError

    given: dict[str, Any] = {
        section: {name: value for name, value in fields.items() if value is not None}
        for section, fields in (overrides or {}).items()
    }
    try:
        return Settings(**given)
    except ValidationError as error:
        raise _bad_settings(_explain(error)) from None
    except SettingsFileError as error:
        raise _bad_settings(str(error)) from None
    except UnicodeDecodeError:
        raise _bad_settings(".env is not UTF-8") from None
    except SettingsError as error:
        raise _bad_settings(_explain_json(error)) from None


def _bad_settings(message: str) -> KeepstreamError:
    hint = "without it, `keepstream config show --explain` lists and explains all settings"
    return KeepstreamError("bad_settings", message, hint, USAGE)


def _explain_json(error: SettingsError) -> str:
    from keepstream.app.config.variables import environment, not_json

    name = not_json(environment())
    return f"""{name} holds no JSON, like ["one", "two"]""" if name else str(error)


def _explain(error: ValidationError) -> str:
    from keepstream.app.config.settings import Settings, settings_file, settings_in_file
    from keepstream.app.config.topics import name_settings_of

    in_file, lines = settings_in_file(Settings.model_fields), []
    for found in error.errors(include_url=False, include_input=False):
        path, message = [part for part in found["loc"] if part != "[key]"], found["msg"].removeprefix("Value error, ")
        if not path:  # an error of several settings, which names them
            lines.append(message)
            continue
        if path[0] == "topics" and len(path) > 1:
            message = name_settings_of(str(path[1]), message)
        name = _name_of(path)
        where = f" (in {settings_file()})" if name not in os.environ and _is_written(in_file, path) else ""
        lines.append(f"{name}: {message}{where}")
    return "\n       ".join(lines)


def _name_of(path: Sequence[object]) -> str:
    """Return a setting's variable; of a topic's, which stands in the file, its place there."""
    variable = "KEEPSTREAM_" + "__".join(str(part).upper() for part in path)
    return variable if path[0] != "topics" or variable in os.environ else ".".join(map(str, path))


def _is_written(table: object, path: Iterable[object]) -> bool:
    """Whether a path leads into the table; what the table holds may be too short for it, as text for a section is."""
    for part in path:
        if not isinstance(table, dict):
            return True
        table = table.get(part)
    return table is not None


def load_services() -> Services:
    """Return the servers of the topic that --topic names, or of the only one; nothing is connected yet."""
    from keepstream.app.connect.services import Services

    settings = load_settings()
    return Services(settings).by_topic()[one_topic(settings).kafka.topic]


def load_services_of_topics() -> Services:
    """Return the servers of all topics, or of the one that --topic names; nothing is connected yet."""
    from keepstream.app.connect.services import Services

    return load_services() if chosen_topic() else Services(load_settings())


def print_json(row: Mapping[str, object]) -> None:
    """Write one object per line to stdout."""
    click.echo(json_text_of(row, plain))


def print_rows(rows: Iterable[Mapping[str, object]], *, as_json: bool) -> None:
    """Print rows as JSON lines, each as it comes, or as a table."""
    if as_json:
        for row in rows:
            print_json(row)
    elif known := list(rows):
        (print_table if sys.stdout.isatty() else print_columns)(known)


def notify(message: str) -> None:
    """Write a line to stderr: results alone go to stdout."""
    click.echo(message, err=True)


wait_option = click.option("--wait", "wait_s", type=Seconds(0, 86_400), default=0.0, metavar="SECONDS",
                           help="How long to wait for a server that cannot be reached.")  # fmt: skip
WAIT_BETWEEN_S = 1.0
T = TypeVar("T")


def wait_until_reachable(action: Callable[[], T], wait_s: float) -> T:
    """Repeat the action while its server cannot be reached (exit code 4), at most for ``wait_s``; return its result."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return action()
        except KeepstreamError as error:
            if error.exit_code != UNREACHABLE or time.monotonic() >= deadline:
                raise
            notify(f"waiting: {error.message}")
        time.sleep(WAIT_BETWEEN_S)


@contextmanager
def progress_bar(description: str, total: int | None = None) -> Iterator[Callable[..., None] | None]:
    """Show a progress bar on a terminal. Yields its update function (``completed``, ``description``), or None."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as bar:
        yield partial(bar.update, bar.add_task(description, total=total))


def check_confirmable(*, yes: bool) -> None:
    """Raise KeepstreamError (5) when what a command does needs confirmation and stdin is not a terminal."""
    if not yes and not sys.stdin.isatty():
        message = "refused without confirmation: stdin is not a terminal"
        raise KeepstreamError("refused", message, "pass --yes", REFUSED)


def open_dead_letter_topic(
    selection: Selection | None = None, *, with_index: bool = True, needs_index: bool = False
) -> AbstractContextManager[DeadLetterTopic]:
    from keepstream.app.dlq import topic

    return topic.open_dead_letter_topic(
        load_services(), selection, with_index=with_index, needs_index=needs_index, notify=notify
    )
