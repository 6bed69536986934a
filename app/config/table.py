"""The settings of a table of one's own: which part of an event each of its columns takes."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from keepstream.app.config.base import Section
from keepstream.processors.mapping.sources import path_of
from keepstream.sinks.postgres.tables.definition import EVENT_ID, Source, TableDefinition

_PARTS = (EVENT_ID, "created_at", "correlation_id", "payload", "metadata")
_METADATA = "metadata:/"
_CAN_BE_WRITTEN = (
    "a path into the payload like /order/no, a path into the metadata like metadata:/shop, or event_id, created_at, "
    "correlation_id, payload, metadata (all of it)"
)
_LONGEST_NAME = 63
"""PostgreSQL's limit of an identifier, in bytes."""


def parse_source(spec: str) -> Source:
    """Parse a source as it is written in the settings. Raises ValueError, which names what can be written."""
    if "\0" in spec:
        raise ValueError("has a NUL character, which no field of a stored event has")
    if spec.startswith("/"):
        return Source("payload", path_of(spec), spec)
    if spec.startswith(_METADATA):
        return Source("metadata", path_of(spec.removeprefix("metadata:")), spec)
    if spec in _PARTS:
        return Source(spec, (), spec)
    raise ValueError(f"{spec!r} is no source of a column: write {_CAN_BE_WRITTEN}")


def _source(spec: str) -> str:
    parse_source(spec)
    return spec


def _identifier(name: str) -> str:
    if not name or "\0" in name or len(name.encode()) > _LONGEST_NAME:
        raise ValueError(f"a name in PostgreSQL has 1 to {_LONGEST_NAME} bytes, and no NUL character")
    return name


def _table_name(name: str) -> str:
    schema, dot, table = name.rpartition(".")
    for part in (schema, table) if dot else (table,):
        _identifier(part)
    if "." in schema:
        raise ValueError("write table or schema.table, as the catalogue has them, without quotes")
    return name


ColumnName = Annotated[str, AfterValidator(_identifier)]
ColumnSource = Annotated[str, AfterValidator(_source)]


class TableSettings(Section):
    """A table of your own that is filled in the transaction that stores the event: docs/tables.md.

    `keepstream tables plan` shows the trigger that does it, `keepstream tables apply` creates it.
    """

    name: Annotated[str, AfterValidator(_table_name)] | None = None
    """The table: ``orders``, found through the search path, or ``shop.orders``. As the catalogue has it, without
    quotes. Default none: only ``events`` is filled."""
    columns: dict[ColumnName, ColumnSource] = {}  # noqa: RUF012 - pydantic copies it
    """Column and source, as JSON: ``{"order_no": "/order/no", "shop": "metadata:/shop"}``. A source is a path into the
    payload or the metadata, ``event_id``, ``created_at``, ``correlation_id``, or ``payload`` and ``metadata`` (all of
    it). The column ``event_id`` takes the event's id where no other does. Columns that are not named are the table's
    own."""
    key: tuple[ColumnName, ...] = ()
    """The columns of the unique index by which a newer version finds its row, as JSON. Default: the primary key where
    it has the column of the event's id, else the one unique index that has it."""
    base64: tuple[ColumnName, ...] = ()
    """Columns of type ``bytea`` whose source is base64, as JSON. Default none: text as PostgreSQL reads ``bytea``."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.definition()
        return self

    def definition(self) -> TableDefinition | None:
        """Return the table, None where none is set. Raises ValueError when fields contradict each other."""
        if self.name is None:
            if self.columns or self.key or self.base64:
                raise ValueError("name: is required, for it is the table that these columns are of")
            return None
        if not self.columns:
            raise ValueError('columns: name at least one, like {order_no = "/order/no"}')
        columns = self._sources()
        self._check_names(columns)
        schema, _, table = self.name.rpartition(".")
        return TableDefinition(schema or None, table, columns, frozenset(self.key), frozenset(self.base64))

    def _sources(self) -> dict[str, Source]:
        """Return the source of each column, with that of the event's id first where it is not named."""
        given = {name: parse_source(spec) for name, spec in self.columns.items()}
        takes_id = [name for name, source in given.items() if source.column == EVENT_ID]
        if len(takes_id) > 1:
            raise ValueError(f"columns: {' and '.join(takes_id)} both take event_id; let one column take it")
        if takes_id:
            return given
        if EVENT_ID in given:
            raise ValueError(
                f"columns.event_id: takes {given[EVENT_ID].spec}, so no column takes the event's id; add one: "
                'columns.NAME = "event_id"'
            )
        return {EVENT_ID: Source(EVENT_ID, (), EVENT_ID), **given}

    def _check_names(self, columns: dict[str, Source]) -> None:
        for name in self.key:
            if name not in columns:
                raise ValueError(f"key: {name} is none of the columns; give it a source: columns.{name}")
        id_column = next(name for name, source in columns.items() if source.column == EVENT_ID)
        if self.key and id_column not in self.key:
            raise ValueError(f"key: must have {id_column}, the column of the event's id: or two events are one row")
        for name in self.base64:
            if name not in columns or not columns[name].path:
                raise ValueError(f"base64: {name} is no column with a path as its source: columns.{name}")
