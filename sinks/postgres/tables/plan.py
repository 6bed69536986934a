"""Comparing what fills a table with the settings and the table, and applying the difference in one transaction."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from keepstream.sinks.postgres.connection import Connection
from keepstream.sinks.postgres.tables.catalogue import (
    FUNCTION,
    WORKER_ROLE,
    Installed,
    Target,
    read_installed,
    read_target,
)
from keepstream.sinks.postgres.tables.check import check_columns, check_table, find_key, no_table
from keepstream.sinks.postgres.tables.definition import TableDefinition
from keepstream.sinks.postgres.tables.function import FillFunction, is_found_by_id

_LOCK_KEY = 0x6B656570_7462  # "keeptb"
_TRIGGERS = {f"{FUNCTION}_inserted": "INSERT", f"{FUNCTION}_updated": "UPDATE"}
_FILL = """CREATE OR REPLACE FUNCTION {schema}.{function}() RETURNS trigger LANGUAGE plpgsql AS {quote}{body}{quote}"""
_TRIGGER = """CREATE OR REPLACE TRIGGER {name} AFTER {change} ON {schema}.events REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{function}()"""
_DROP = "DROP FUNCTION {schema}.{function}() CASCADE"


class ChangedMeanwhileError(RuntimeError):
    """The table, or what fills it, is another than when the plan was made."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done so that a table is filled as the settings say."""

    table: str | None
    """Its quoted name. None where the settings name none."""
    problems: Sequence[str] = ()
    """Why it cannot be filled; then there is nothing else."""
    differences: Sequence[str] = ()
    statements: Sequence[str] = ()
    notes: Sequence[str] = ()
    """What an operator should know or do besides."""

    @property
    def script(self) -> str:
        """The statements as one text, as psql takes it."""
        return "".join(f"{statement};\n" for statement in self.statements)


def make_plan(connection: Connection, definition: TableDefinition | None, role: str | None = WORKER_ROLE) -> Plan:
    """Compare. ``role`` is the worker's, of which missing rights are noted; None is the connection's own.

    Raises psycopg's UndefinedTable without ``events``.
    """
    installed = read_installed(connection)
    if definition is None:
        return _removal(installed)
    target = read_target(connection, definition, role)
    if target is None:
        return Plan(definition.written, [no_table(definition)])
    key, problems = find_key(definition, target)
    if problems := check_table(target, installed.schema_name) or check_columns(definition, target) + problems:
        return Plan(target.place, problems)
    body = FillFunction(definition, target, key).body()
    changes = [*_changes(installed, target, body)]
    return Plan(
        target.place,
        differences=[difference for difference, _ in changes],
        statements=[statement for _, statement in changes],
        notes=[*_notes(definition, target, key)],
    )


def apply_plan(connection: Connection, definition: TableDefinition | None, shown: Plan, lock_timeout_s: float) -> None:
    """Apply a plan in one transaction. Raises ChangedMeanwhileError where it is not the plan any more.

    A trigger is created under a lock on ``events`` that writers wait behind, for ``lock_timeout_s`` at most.
    """
    with connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{lock_timeout_s * 1000:.0f}ms"])
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
        if make_plan(connection, definition).statements != shown.statements:
            raise ChangedMeanwhileError
        for statement in shown.statements:
            connection.execute(statement.encode())


def _removal(installed: Installed) -> Plan:
    if installed.body is None:
        return Plan(None)
    dropped = _DROP.format(schema=installed.schema, function=FUNCTION)
    return Plan(None, differences=[f"{FUNCTION} fills a table, and the settings name none"], statements=[dropped])


def _changes(installed: Installed, target: Target, body: str) -> Iterator[tuple[str, str]]:
    """Yield each difference with the statement that ends it."""
    names = {"schema": installed.schema, "function": FUNCTION}
    if installed.body != body:
        what = "fills it otherwise than settings and table say:" if installed.body else "does not exist"
        difference = "\n".join([f"the function {FUNCTION} {what}", *_difference(installed.body, body)])
        yield difference, _FILL.format(**names, body=body, quote=_dollar_quote(body))
    for name, change in _TRIGGERS.items():
        if name not in installed.triggers:
            yield (
                f"the trigger {name} on events does not exist, or is disabled",
                _TRIGGER.format(**names, name=name, change=change),
            )
    former = f"map_{target.name}"
    if former in installed.former:
        dropped = _DROP.format(schema=installed.schema, function=f'"{former}"')
        yield f"the function {former} of deploy/postgres/map.sql fills it as well", dropped


def _difference(before: str | None, after: str) -> list[str]:
    if before is None:
        return []
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [f"  {line}" for line in lines if not line.startswith(("---", "+++", "@@"))]


def _dollar_quote(body: str) -> str:
    """Return a dollar quote that the text does not contain."""
    tag = "fill"
    while f"${tag}$" in body:
        tag += "_"
    return f"${tag}$"


def _notes(definition: TableDefinition, target: Target, key: Sequence[str]) -> Iterator[str]:
    if len(key) > 1 and not is_found_by_id(definition, target):
        column = next(column.quoted for column in target.columns if column.name == definition.id_column)
        yield (
            f"newer versions and deletes read all of {target.place}, because no index begins with "
            f"{definition.id_column}: CREATE INDEX ON {target.place} ({column})"
        )
    if target.row_security:
        yield f"{target.place} has row-level security: the worker's role needs a policy for INSERT, UPDATE and DELETE"
    for grant in target.lacking:
        yield f"the worker lacks a right: {grant}"
