"""Why a table cannot be filled as the settings say: a sentence each, before any record shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from keepstream.sinks.postgres.tables.catalogue import Column, Index, Target, own_tables
from keepstream.sinks.postgres.tables.definition import TableDefinition

_OTHER_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
_READ_AS_SYNTAX = {
    "tsvector", "tsquery", "jsonpath", "ltree", "lquery", "ltxtquery", "hstore", "geometry", "geography",
    "regclass", "regcollation", "regconfig",
    "regdictionary", "regnamespace", "regoper", "regoperator", "regproc", "regprocedure", "regrole", "regtype",
}  # fmt: skip
"""Types whose bad values have the SQLSTATE of a bad statement (42...), or of an internal error as those of PostGIS."""


def no_table(definition: TableDefinition) -> str:
    """Return what is said of a table that is not there."""
    where = "" if definition.schema else ' in the search path; name its schema too, like "public.orders"'
    return f"table.name: there is no table {definition.written}{where}"


def check_table(target: Target, own_schema: str) -> list[str]:
    """Return why the table itself cannot be filled."""
    if target.schema == own_schema and target.name in own_tables():
        return [f"table.name: {target.place} is one of keepstream's own tables; name one of yours"]
    if target.kind in _OTHER_KINDS:
        return [f"table.name: {target.place} is {_OTHER_KINDS[target.kind]}; name a table"]
    if target.rules:
        why = "has a rule for INSERT or UPDATE, and ON CONFLICT works without rules only; replace it by a trigger"
        return [f"table.name: {target.place} {why}"]
    return []


def check_columns(definition: TableDefinition, target: Target) -> list[str]:
    """Return why the columns cannot be filled."""
    found = [*_missing(definition, target)]
    by_name = {column.name: column for column in target.columns}
    for name in definition.columns:
        if name in by_name:
            found += _column(name, by_name[name], target)
    for name in sorted(definition.base64):
        if name in by_name and by_name[name].type != "bytea":
            found.append(
                f"table.base64: {name} of {target.place} is {by_name[name].type}; only bytea is read as base64"
            )
    for column in target.columns:
        if column.name not in definition.columns and _needs_value(column):
            found.append(
                f"table.columns.{column.name}: {target.place} takes no NULL there and has no default; give it a source"
            )
    return found


def _missing(definition: TableDefinition, target: Target) -> Iterator[str]:
    names = {column.name for column in target.columns}
    for name in definition.columns:
        if name in names:
            continue
        if name == definition.id_column:
            yield (
                f"table.columns: {target.place} has no column {name} for the event's id; name the one that takes it: "
                'columns.NAME = "event_id"'
            )
        else:
            yield f"table.columns.{name}: {target.place} has no such column"


def _column(name: str, column: Column, target: Target) -> Iterator[str]:
    of = f"table.columns.{name}: {target.place}"
    if column.is_identity:
        yield f"{of} numbers it itself (identity); leave it out"
    elif column.is_serial:
        yield f"{of} numbers it itself (serial); leave it out"
    elif column.is_generated:
        yield f"{of} computes it (generated column); leave it out"
    elif column.type_name.removeprefix("_") in _READ_AS_SYNTAX:
        yield (
            f"{of} has the type {column.type}, of which PostgreSQL refuses a bad value as a bad statement, so that one "
            "record would pause its partition; leave it out, and compute it from a column of type text"
        )


def _needs_value(column: Column) -> bool:
    fills_itself = column.is_identity or column.is_serial or column.is_generated
    return column.not_null and column.default is None and not fills_itself


def find_key(definition: TableDefinition, target: Target) -> tuple[Sequence[str], list[str]]:
    """Return the columns of the conflict target, and why there is none or it cannot be used."""
    if definition.id_column not in {column.name for column in target.columns}:
        return (), []
    index, problem = _named(definition, target) if definition.key else _default(definition, target)
    if index is None:
        return (), [problem]
    columns = [name for name in index.columns if name is not None]
    by_name = {column.name: column for column in target.columns}
    return columns, [one for name in columns for one in _key_column(definition, by_name[name], target)]


def _named(definition: TableDefinition, target: Target) -> tuple[Index | None, str]:
    names = ", ".join(sorted(definition.key))
    same = [index for index in target.indexes if index.is_unique and set(index.columns) == definition.key]
    usable = [index for index in same if not _unusable(index)]
    if usable:
        return usable[0], ""
    if same:
        return None, f"table.key: {target.place}: {_unusable(same[0])}"
    return None, (
        f"table.key: {target.place} has no unique index on ({names}); CREATE UNIQUE INDEX ON {target.place} ({names})"
    )


def _default(definition: TableDefinition, target: Target) -> tuple[Index | None, str]:
    having = [index for index in target.indexes if index.is_unique and definition.id_column in index.columns]
    usable = [index for index in having if not _unusable(index)]
    if len(usable) == 1 or (usable and usable[0].is_primary):
        return usable[0], ""
    if usable:
        names = " and ".join(index.name for index in usable)
        return (
            None,
            f"table.key: the unique indexes {names} of {target.place} have the event's id; name the columns of one",
        )
    if having:
        return None, f"table.key: {target.place}: {_unusable(having[0])}"
    return None, (
        f"table.key: no unique index of {target.place} has {definition.id_column}, the column of the event's id; "
        f"CREATE UNIQUE INDEX ON {target.place} ({definition.id_column})"
    )


def _unusable(index: Index) -> str:
    """Return why an index is no conflict target, or nothing."""
    if index.is_deferrable:
        return f"the constraint {index.name} is deferrable, which ON CONFLICT does not take; make it NOT DEFERRABLE"
    if index.is_partial:
        return f"the unique index {index.name} is partial, so it does not keep all rows apart; make one without WHERE"
    if None in index.columns:
        return f"the unique index {index.name} is on an expression; make one on columns alone"
    if not index.is_valid:
        return f"the unique index {index.name} is not valid; REINDEX it"
    return ""


def _key_column(definition: TableDefinition, column: Column, target: Target) -> Iterator[str]:
    of = f"table.key: {column.name} of {target.place}"
    source = definition.columns.get(column.name)
    if not column.type_is_own:
        yield f"{of} has the type {column.type}, of an extension; the key's columns are of PostgreSQL's own types"
    if column.name == definition.id_column:
        return
    if source is None:
        yield f"{of} has no source, so each version of an event would be another row; add columns.{column.name}"
    elif not column.not_null:
        yield f"{of} may be NULL, and rows with NULL never conflict; make it NOT NULL"
    elif source.may_be_absent and column.default is not None and not column.has_constant_default:
        yield (
            f"{of} has a default that changes ({column.default}), so an event without {source.spec} would be another "
            "row with each version; take a source that every event has, like created_at, or drop the default"
        )
