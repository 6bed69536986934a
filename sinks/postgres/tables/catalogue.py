"""What PostgreSQL's catalogue says of a table, and of the function that fills it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, LiteralString, TypeVar

from psycopg.rows import class_row

from keepstream.sinks.postgres.connection import Connection
from keepstream.sinks.postgres.migrate import migrations
from keepstream.sinks.postgres.statements import statement
from keepstream.sinks.postgres.tables.definition import TableDefinition

FUNCTION = "keepstream_fill_table"
WORKER_ROLE = "keepstream_worker"
"""The role of a worker in deploy/postgres/roles.sql."""
TARGET, COLUMNS, INDEXES = map(statement, ("table_target", "table_columns", "table_indexes"))
RIGHTS, INSTALLED = map(statement, ("table_rights", "table_function"))
_TYPE = r"""(::[\w ."\[\]]+(\(\d+(,\d+)?\)[\w \[\]]*)?)?"""
_CONSTANT = re.compile(rf"('([^']|'')*'|\(?-?\d+(\.\d+)?\)?|true|false){_TYPE}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Column:
    """A column. ``type`` is what its values are converted to: below a domain, the type of the domain."""

    name: str
    quoted: str
    type: str
    type_name: str = "text"
    type_is_own: bool = True
    """Whether operators of the type are found through any search path: it is no type of an extension."""
    default: str | None = None
    not_null: bool = False
    is_identity: bool = False
    is_generated: bool = False
    is_serial: bool = False

    @property
    def has_constant_default(self) -> bool:
        return self.default is not None and _CONSTANT.fullmatch(self.default) is not None


@dataclass(frozen=True, slots=True)
class Index:
    """An index. A column without a name is an expression."""

    name: str
    is_unique: bool
    is_primary: bool
    is_valid: bool
    is_deferrable: bool
    is_partial: bool
    columns: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Target:
    """A table as it is there now. ``place`` is its quoted name with its schema."""

    id: int
    schema: str
    name: str
    place: str
    kind: str
    row_security: bool
    rules: bool
    columns: Sequence[Column] = ()
    indexes: Sequence[Index] = ()
    lacking: Sequence[str] = ()
    """The GRANTs without which a worker cannot fill it."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The function that fills a table, as it is there now, in the schema of ``events``."""

    schema_name: str
    schema: str
    body: str | None
    triggers: Sequence[str]
    former: Sequence[str]
    """Functions of deploy/postgres/map.sql, which filled tables before."""


def own_tables() -> frozenset[str]:
    """Return the names of keepstream's tables."""
    found = (re.findall(r"CREATE TABLE (\w+)", migration.text) for migration in migrations())
    return frozenset(name for names in found for name in names) | {"schema_migrations"}


def read_installed(connection: Connection) -> Installed:
    """Return what is there now. Raises psycopg's UndefinedTable without ``events``."""
    return _rows(connection, Installed, INSTALLED, {"function": FUNCTION})[0]


def read_target(connection: Connection, definition: TableDefinition, role: str | None) -> Target | None:
    """Return the table of a definition. ``role`` is the worker's; None for the connection's own.

    Names in types and defaults are whole: they do not depend on a search path.
    """
    found = _rows(connection, Target, TARGET, {"name": definition.name, "schema": definition.schema})
    if not found:
        return None
    given = {"table": found[0].id}
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL search_path TO ''")
        columns, indexes = _rows(connection, Column, COLUMNS, given), _rows(connection, Index, INDEXES, given)
    return replace(found[0], columns=columns, indexes=indexes, lacking=_lacking(connection, found[0], role))


def _lacking(connection: Connection, target: Target, role: str | None) -> list[str]:
    """Return the GRANTs that a role lacks; the privileges on the table in one of them."""
    found = connection.execute(RIGHTS, {"table": target.id, "role": role}).fetchall()
    name = connection.execute("SELECT quote_ident(coalesce(%s, current_user))", [role]).fetchall()[0][0]
    privileges = [privilege for privilege, place in found if place == target.place]
    others = [f"{privilege} ON {place}" for privilege, place in found if place != target.place]
    own = [f"{', '.join(privileges)} ON {target.place}"] if privileges else []
    return [f"GRANT {what} TO {name}" for what in own + others]


def _rows(connection: Connection, kind: type[T], query: LiteralString, given: dict[str, Any]) -> list[T]:
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(query, given).fetchall()
