"""Write docs/reference/*.md from the code: ``python docs/build_reference.py`` (`make docs`)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import click
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

import keepstream.sinks.postgres
from keepstream.app import errors
from keepstream.app.cli.config import _written
from keepstream.app.cli.root import root
from keepstream.app.config.settings import Settings
from keepstream.app.config.topics import TopicSettings
from keepstream.schemas.claim_check import make_claim_check
from keepstream.schemas.dead_letter import DeadLetter, to_record
from keepstream.schemas.failure import Failure, Step, Verdict
from keepstream.schemas.header_names import KNOWN
from keepstream.schemas.record import KafkaRecord

TARGET = Path(__file__).parent / "reference"
_GENERATED = "Generated from {source} by `make docs`."
_CODES = {
    0: "ok",
    errors.FAILED: "failed",
    errors.USAGE: "usage",
    errors.NOT_FOUND: "not found",
    errors.UNREACHABLE: "Kafka or PostgreSQL unreachable",
    errors.REFUSED: "refused",
    errors.FATAL: "fatal error",
    errors.INTERRUPTED: "interrupted",
}
_COMMANDS_HEAD = """Data go to stdout, messages to stderr: [terminals and pipes](../terminal.md). Every command has
`--help`; every command that prints data has `--json` ([fields](json.md)). [Exit codes](exit-codes.md).
`keepstream --config FILE ...` reads FILE instead of `keepstream.toml`; `keepstream --debug ...` prints the traceback of
an error."""
_SETTINGS_HEAD = """Each is a variable. In `keepstream.toml`, in the working directory, `KEEPSTREAM_KAFKA__TOPIC` is
`topic` in the section `[keepstream.kafka]`; `keepstream --config FILE ...` names another file. Variables take
precedence, and `.env` stands between the two. Lists and tables are JSON in a variable. `keepstream config show
--explain` prints the same with the values in effect."""
_TABLES_HEAD = """In the schema `KEEPSTREAM_POSTGRES__SCHEMA_NAME`, without it in that of the search path. Read them as
you like; write to none but through keepstream. `event_totals` is a view: the sums of `event_counters`."""
_CODES_TAIL = """70 is of `keepstream worker` only: a fatal error, with one line that gives the reason. Start it again,
it continues at the stored offset. `... | head` ends with 0. With `--json` an error is one object on stderr:
`{"error": {"code": "not_found", "message": "...", "hint": "..."}}`."""
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_MIGRATIONS = Path(str(keepstream.sinks.postgres.__path__[0])) / "migrations"


def pages() -> dict[str, str]:
    """Return the text of each page by its name."""
    return {
        "commands.md": "\n".join(_commands()) + "\n",
        "settings.md": "\n".join(_settings()) + "\n",
        "headers.md": "\n".join(_headers()) + "\n",
        "tables.md": "\n".join(_tables()) + "\n",
        "exit-codes.md": "\n".join(_exit_codes()) + "\n",
    }


def _commands() -> Iterator[str]:
    yield from ("# Commands", "", _GENERATED.format(source="the command line"), "")
    yield _COMMANDS_HEAD
    for words, command in _leaves(root, "keepstream"):
        yield from ("", f"## `{words}`", "", _prose(command.help), "")
        context = click.Context(command, info_name=words)
        usage = " ".join(command.collect_usage_pieces(context))
        yield from ("```", f"{words} {usage}", "```", "")
        rows = [record for option in command.params if (record := option.get_help_record(context))]
        yield from ("| Option | Effect |", "| --- | --- |")
        yield from (f"| `{_cell(name)}` | {_cell(text)} |" for name, text in rows if "--help" not in name)
        yield from ("", f"`{(command.epilog or '').removeprefix('Example: ')}`")


def _leaves(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _leaves(command, f"{path} {name}")
        elif command is not None:
            yield f"{path} {name}", command


def _prose(text: str | None) -> str:
    paragraphs = inspect.cleandoc(text or "").replace("\b", "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _settings() -> Iterator[str]:
    yield from ("# Settings", "", _GENERATED.format(source="`app/config`"), "")
    yield _SETTINGS_HEAD
    yield from _section(Settings, "KEEPSTREAM_", "General")


def _section(model: type[BaseModel], prefix: str, title: str) -> Iterator[str]:
    branches, leaves = [], []
    for name, field in model.model_fields.items():
        branch = None if model is TopicSettings else _branch(field)
        (branches if branch else leaves).append((name, field, branch))
    if leaves:
        yield from ("", f"## {title}", "")
        if model is not Settings and model.__doc__:
            yield from (_prose(model.__doc__), "")
        yield from ("| Variable | Value | Default | Meaning |", "| --- | --- | --- | --- |")
    for name, field, _ in leaves:
        meaning = _cell(_prose(field.description).replace("``", "`"))
        yield f"| `{prefix}{name.upper()}` | {_cell(_type(field))} | {_default(field)} | {meaning} |"
    for name, _, branch in branches:
        if branch:
            yield from _section(branch, f"{prefix}{name.upper()}__", f"`{prefix}{name.upper()}__...`")
    if model is Settings:
        yield from _section(TopicSettings, f"{prefix}TOPICS__NAME__", f"`{prefix}TOPICS__NAME__...`")


def _branch(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _type(field: FieldInfo) -> str:
    limits = [
        f"{sign} {bound:g}"
        for limit in field.metadata
        for name, sign in _SIGNS.items()
        if isinstance(bound := getattr(limit, name, None), int | float)
    ]
    return " ".join([_name(field.annotation), ", ".join(limits)]).strip()


def _name(kind: object) -> str:  # noqa: PLR0911 - a table of kinds
    """Return what a reader calls a type."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _name(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (tuple, list, frozenset):
        return "list"
    if origin is dict:
        return "table"
    if inner:  # a union
        return " or ".join(dict.fromkeys(_name(part) for part in inner if part is not NoneType))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{value.value}`" for value in kind)
    known = {str: "text", int: "number", float: "number", bool: "true, false", Path: "file", SecretStr: "secret"}
    return known.get(kind, "table" if isinstance(kind, type) and issubclass(kind, BaseModel) else "text")  # type: ignore[call-overload,no-any-return]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default if field.default_factory is None else field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "none"
    shown = value.get_secret_value() if isinstance(value, SecretStr) else _written(value)
    return f"`{shown}`" if shown not in ("", "[]", "{}", "null") else "none"


def _headers() -> Iterator[str]:
    yield from ("# Headers", "", _GENERATED.format(source="`schemas`"), "")
    yield "A dead letter has the headers of its record, and these behind them. The values are those of an example."
    yield from ("", "| Header | Example |", "| --- | --- |")
    dead = to_record(_example(), "0.1.0")
    yield from (f"| `{name}` | `{(value or b'').decode()}` |" for name, value in dead.headers)
    names = {name for name, _ in dead.headers}
    yield from ("", "One that is too large for its topic has these two as well; its value is kept in PostgreSQL.", "")
    yield from ("| Header | Example |", "| --- | --- |")
    check = make_claim_check(dead)
    yield from (f"| `{name}` | `{(value or b'').decode()}` |" for name, value in check.headers if name not in names)
    yield from ("", "## What is read of other programs", "", "The first one with a value counts.", "")
    yield from ("| Says | Headers |", "| --- | --- |")
    for part in (
        "topic",
        "partition",
        "offset",
        "timestamp",
        "consumer_group",
        "step",
        "reason",
        "message",
        "attempts",
    ):
        yield f"| {part.replace('_', ' ')} | {', '.join(f'`{name}`' for name in getattr(KNOWN, part))} |"


def _example() -> DeadLetter:
    when = datetime(2026, 11, 24, 10, tzinfo=UTC)
    record = KafkaRecord("orders", 0, 17, 1_795_514_400_000, b"4711", b'{"amount": -1}', [])
    failure = Failure(Step.STORE, Verdict.RECORD, "check_violation", "amount: must be above 0", "23514", 1)
    return DeadLetter(record, failure, when, when, "order-4711", "session-1")


def _tables() -> Iterator[str]:
    yield from ("# Tables", "", _GENERATED.format(source="`sinks/postgres/migrations`"), "")
    yield _TABLES_HEAD
    for table, columns in sorted(_columns().items()):
        yield from ("", f"## `{table}`", "", "| Column | Type | Meaning |", "| --- | --- | --- |")
        yield from (f"| `{name}` | {_cell(kind)} | {_cell(text)} |" for name, (kind, text) in columns.items())


def _columns() -> dict[str, dict[str, tuple[str, str]]]:
    """Return type and meaning of each column of each table, as the migrations leave them."""
    script = "\n".join(path.read_text(encoding="utf-8") for path in sorted(_MIGRATIONS.glob("*.sql")))
    script = re.sub(r"--.*", "", script)
    tables: dict[str, dict[str, tuple[str, str]]] = {}
    for name, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\)", script, re.DOTALL):
        lines = re.findall(r'^ {4}"?([a-z_][a-z_0-9]*)"? +([a-z]+(?:\[\])?)', body, re.MULTILINE)
        tables[name] = {column: (kind, "") for column, kind in lines}
    for name, body in re.findall(r"ALTER TABLE (\w+)\s+(ADD COLUMN .*?);", script, re.DOTALL):
        tables[name] |= {
            column: (kind, "") for column, kind in re.findall(r"ADD COLUMN (\w+) +([a-z]+(?:\[\])?)", body)
        }
    comments = r"COMMENT ON COLUMN (\w+)\.\"?(\w+)\"? IS\s+'(.*?)';"
    for name, column, text in re.findall(comments, script, re.DOTALL):
        said = re.sub(r"'\s*\n\s*'", "", text).replace("''", "'")
        said = re.sub(r"(?<!dead )\bletters?\b", r"dead \g<0>", said)
        tables[name][column] = (tables[name][column][0], " ".join(said.split()))
    return tables


def _exit_codes() -> Iterator[str]:
    yield from ("# Exit codes", "", _GENERATED.format(source="`app/errors.py`"), "")
    yield from ("| Code | Meaning |", "| --- | --- |")
    yield from (f"| {code} | {meaning} |" for code, meaning in _CODES.items())
    yield ""
    yield _CODES_TAIL


def _cell(text: str) -> str:
    return " ".join(text.replace("\b", " ").split()).replace("|", "\\|")


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    for name, text in pages().items():
        (TARGET / name).write_text(text, encoding="utf-8")
