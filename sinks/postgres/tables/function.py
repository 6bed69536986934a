"""The text of the trigger function that fills a table. All names in it are quoted and have their schemas."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

from psycopg import sql

from keepstream.sinks.postgres.tables.catalogue import Column, Target
from keepstream.sinks.postgres.tables.definition import Source, TableDefinition

_PAIRS = 25
"""Columns per call of jsonb_build_object: a function of PostgreSQL takes 100 arguments at most."""
_PLACEHOLDER = re.compile(r"{(\w+)}")
_PARTS, _PARTS_OF_RECORD = ",\n        ", ",\n            "


@dataclass(frozen=True)
class FillFunction:
    """Generates the body of the function for a table that can be filled. ``key`` is the conflict target."""

    definition: TableDefinition
    target: Target
    key: Sequence[str]

    def body(self) -> str:
        """Return the body: it writes the rows of a statement's events, and deletes those of deleted ones."""
        given = {
            "table": self.target.place,
            "id": self._id.quoted,
            "columns": _PARTS.join(column.quoted for column in self._columns),
            "values": _PARTS.join(self._value(column) for column in self._columns),
            "record": self._record(self._columns),
            "id_record": self._record([self._id]),
            "key": ", ".join(self._by_name[name].quoted for name in self.key),
            "update": self._update(),
            "move": self._move(),
        }
        return "\n" + _fill("fill_table", given)

    @cached_property
    def _by_name(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.target.columns}

    @property
    def _columns(self) -> list[Column]:
        return [self._by_name[name] for name in self.definition.columns]

    @property
    def _id(self) -> Column:
        return self._by_name[self.definition.id_column]

    def _update(self) -> str:
        rest = [column.quoted for column in self._columns if column.name not in self.key]
        return f"UPDATE SET\n        {_PARTS.join(f'{name} = EXCLUDED.{name}' for name in rest)}" if rest else "NOTHING"

    def _move(self) -> str:
        """Return the statement that moves a row to the key of its newer version.

        It finds the row by the event's id. A new event has none, but where rows of ``events`` were pruned it may have:
        it is looked for where an index makes that cheap.
        """
        moving = [self._by_name[name] for name in self.key if name != self._id.name]
        if not moving:
            return ""
        values = {column.quoted: self._value(column) for column in moving}
        given = {
            "table": self.target.place,
            "id": self._id.quoted,
            "changes": _PARTS_OF_RECORD.join(f"{name} = {value}" for name, value in values.items()),
            "record": self._record([self._id, *moving]),
            "differs": "\n            OR ".join(f"t.{name} IS DISTINCT FROM {value}" for name, value in values.items()),
            "when": "true" if is_found_by_id(self.definition, self.target) else "TG_OP = 'UPDATE'",
        }
        return "\n" + _fill("fill_table_move", given)

    def _value(self, column: Column) -> str:
        """Return what is written to a column: its value as PostgreSQL converts it, else the column's default."""
        source = self.definition.columns[column.name]
        value = f"mine.{column.quoted}"
        if column.name in self.definition.base64:
            value = f"pg_catalog.decode({_json(source, '#>>')}, 'base64')"
        if column.default is None or not source.may_be_absent:
            return value
        default = f"CAST({column.default} AS {column.type})"
        return f"CASE WHEN {_json(source)} IS NULL THEN {default} ELSE {value} END"

    def _record(self, columns: Iterable[Column]) -> str:
        """Return the join that converts values of JSON to the types of columns, as jsonb_populate_record does."""
        converted = [column for column in columns if column.name not in self.definition.base64]
        pairs = [f"{_literal(c.name)}, {_json(self.definition.columns[c.name])}" for c in converted]
        calls = [pairs[first : first + _PAIRS] for first in range(0, len(pairs), _PAIRS)]
        objects = [
            f"pg_catalog.jsonb_build_object(\n            {_PARTS_OF_RECORD.join(some)}\n        )" for some in calls
        ]
        types = _PARTS_OF_RECORD.join(f"{column.quoted} {column.type}" for column in converted)
        return (
            f"\n        CROSS JOIN LATERAL pg_catalog.jsonb_to_record({' || '.join(objects)}) AS mine(\n"
            f"            {types}\n        )"
        )


def is_found_by_id(definition: TableDefinition, target: Target) -> bool:
    """Return whether an index begins with the event's id, so that its row is found without reading the table."""
    usable = (index for index in target.indexes if index.is_valid and not index.is_partial)
    return any(index.columns[0] == definition.id_column for index in usable)


def _json(source: Source, operator: str = "#>") -> str:
    """Return the expression of a source; NULL where its path is absent, and JSON's null where that is there."""
    return f"e.{source.column} {operator} {_literal(list(source.path))}" if source.path else f"e.{source.column}"


def _literal(value: object) -> str:
    return sql.Literal(value).as_string(None).strip()


def _fill(name: str, given: Mapping[str, str]) -> str:
    """Return ``sql/<name>.sql`` with its placeholders filled in at once: what is filled in may have braces."""
    text = (files("keepstream.sinks.postgres") / "sql" / f"{name}.sql").read_text(encoding="utf-8").rstrip()
    return _PLACEHOLDER.sub(lambda found: given[found[1]], text)
