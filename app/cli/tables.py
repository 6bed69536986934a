"""Tables: a line per row in a pipe; on a terminal sentences are wrapped at blanks, ids and numbers never."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from keepstream.app.dlq.format import format_time, one_line
from keepstream.schemas.json_text import json_text_of

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table

Rows = Sequence[Mapping[str, object]]
_GAP = 2
_LEAST_WIDTH = 20
"""The least width of a column that is wrapped or cut."""
_WHOLE_WIDTH = 40
"""Ids and numbers up to this width are whole or not shown; wider ones, as the values of settings, are cut."""
_PIPE_WIDTH = 100_000


def print_table(rows: Rows) -> None:
    """Print rows on a terminal, and say on stderr which columns have no room."""
    console = table_console()
    table, left_out = table_that_fits(rows, console.width)
    console.print(table)
    if left_out:
        hint = "a wider terminal shows them, and so does --json"
        click.echo(f"not shown for want of room: {', '.join(left_out)}; {hint}", err=True)


def table_that_fits(rows: Rows, room: int, right: Collection[str] = ()) -> tuple[Table, list[str]]:
    """Return a table of this width, and the names of the columns left out: the first one never.

    Columns of integers, and those named in ``right``, are aligned to the right.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    cells = [[cell_of(value) for value in row.values()] for row in rows]
    columns = [[name, *column] for name, column in zip(rows[0], zip(*cells, strict=True), strict=True)]
    widths = _widths(columns, room)
    for (name, value), column, width in zip(rows[0].items(), columns, widths, strict=True):
        if width:
            justify: JustifyMethod = "right" if name in right or isinstance(value, int) else "left"
            wraps = _wraps(column)
            table.add_column(name, justify=justify, width=width, no_wrap=not wraps,
                             overflow="fold" if wraps else "ellipsis")  # fmt: skip
    for row in cells:
        table.add_row(*(cell for cell, width in zip(row, widths, strict=True) if width))
    return table, [name for name, width in zip(rows[0], widths, strict=True) if not width]


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return the width of each column, 0 of one that is left out. The first is whole."""
    needed = [max(map(len, column)) for column in columns]
    widths, room = [0] * len(columns), room + _GAP
    for position, width in enumerate(needed):
        gives_way = position == 1 or _wraps(columns[position]) or width > _WHOLE_WIDTH
        least = min(width, _LEAST_WIDTH) if position and gives_way else width
        if position < 1 or least + _GAP <= room:
            widths[position], room = least, room - least - _GAP
    for position, width in enumerate(needed):
        more = min(width - widths[position], max(0, room)) if widths[position] else 0
        widths[position], room = widths[position] + more, room - more
    return widths


def _wraps(column: Sequence[str]) -> bool:
    return any(" " in cell for cell in column)


def print_columns(rows: Rows) -> None:
    """Print rows for a pipe, each on one line."""
    lines = [[*rows[0]], *([cell_of(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = [">" if isinstance(value, int) else "<" for value in rows[0].values()]
    for line in lines:
        cells = (f"{text:{side}{width}}" for text, side, width in zip(line, sides, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def print_fields(fields: Mapping[str, object]) -> None:
    """Print each field that has a value on one line, which a terminal may wrap."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if value is not None:
            click.echo(f"{name:<{width}}  {cell_of(value)}")


def cell_of(value: object) -> str:
    """Return a value as one line."""
    return one_line(json_text_of(value, plain) if isinstance(value, Mapping | list) else value)


def plain(value: object) -> object:
    """Return what JSON has no type for as text."""
    if isinstance(value, datetime):
        return format_time(value)
    return value if isinstance(value, int | float | str | bool | dict | list) else str(value)


def table_console() -> Console:
    """Return a console for stdout: as wide as the terminal; in a pipe no line is wrapped."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    # No markup, no emoji: values come from records, and [brackets] in them are just brackets.
    return Console(width=width, highlight=False, markup=False, emoji=False)
