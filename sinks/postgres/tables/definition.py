"""What the settings say of a table of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EVENT_ID = "event_id"
_ALWAYS_THERE = (EVENT_ID, "created_at", "payload")


@dataclass(frozen=True, slots=True)
class Source:
    """A column of ``events``, or the value at a path of its payload or metadata."""

    column: str
    path: tuple[str, ...] = ()
    spec: str = ""
    """As it is written in the settings."""

    @property
    def may_be_absent(self) -> bool:
        return bool(self.path) or self.column not in _ALWAYS_THERE


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """A table, and which part of an event each of its columns takes. One column takes the event's id."""

    schema: str | None
    """None where the search path decides."""
    name: str
    columns: Mapping[str, Source]
    key: frozenset[str] = frozenset()
    """The columns of the conflict target; none where a unique index of the table decides."""
    base64: frozenset[str] = frozenset()

    @property
    def id_column(self) -> str:
        return next(name for name, source in self.columns.items() if source.column == EVENT_ID)

    @property
    def written(self) -> str:
        """The name as the settings have it."""
        return self.name if self.schema is None else f"{self.schema}.{self.name}"
