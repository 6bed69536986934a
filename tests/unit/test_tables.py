"""Tables: a line per row in a pipe; on a terminal sentences fold at blanks, and words are whole or left out."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import pytest
from rich.console import Console

from keepstream.app.cli.output import print_rows
from keepstream.app.cli.tables import print_columns, print_fields, table_console, table_that_fits
from keepstream.schemas.json_text import JsonText

WHY = "the constraint affordable refuses an amount of 1000"
ROW = {
    "event_id": "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9", "status": "delivered", "n": 12,
    "created_at": datetime(2026, 11, 24, tzinfo=UTC), "updated_at": None,
    "why": WHY,
}  # fmt: skip


def lines(width: int, *rows: dict[str, object]) -> tuple[list[str], list[str]]:
    """Return the lines of a table on a terminal so wide, and the columns that are left out."""
    console = Console(width=width)
    table, left_out = table_that_fits(rows or (ROW,), width)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()], left_out


@pytest.mark.parametrize("width", range(36, 200))
def test_no_word_is_folded_whatever_the_width(width: int) -> None:
    printed, left_out = lines(width)
    assert max(map(len, printed)) <= width
    words = {word for line in printed for word in line.split()}
    expected = {ROW["event_id"], "delivered", "12", "2026-11-24T00:00:00.000Z", *WHY.split()}
    assert words <= expected | ROW.keys()
    assert [name for name in ROW if name not in left_out] == printed[0].split()


def test_columns_at_the_right_are_left_out_first() -> None:
    assert lines(200)[1] == []
    assert lines(100)[1] == ["why"]
    assert lines(60)[1] == ["created_at", "updated_at", "why"]
    assert lines(10)[1] == [*ROW][1:]


def test_a_sentence_folds_at_blanks_beside_what_is_whole() -> None:
    printed, _ = lines(60, {"check": "postgres", "seen": "a read-only standby that answers no write", "n": 1})
    assert printed[1].split()[0] == "postgres"
    assert lines(40, {"check": "postgres", "seen": "a read-only standby that answers no write", "n": 1})[0][
        2
    ].startswith(" ")


def test_a_value_wider_than_an_id_is_cut() -> None:
    printed, left_out = lines(80, {"variable": "V" * 50, "value": "v" * 200, "origin": "set"})
    assert (printed[1], left_out) == (f"{'V' * 50}  {'v' * 19}\N{HORIZONTAL ELLIPSIS}  set", [])


def test_control_characters_are_escaped() -> None:
    assert lines(80, {"id": "a\x1b[2J\nb"})[0] == ["id", r"a\x1b[2J b"]


def test_a_row_is_one_line_in_a_pipe_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    print_columns([ROW | {"why": "x y " * 200}, ROW])
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_no_line_of_a_screen_is_wrapped_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    console = table_console()
    table, left_out = table_that_fits([ROW | {"why": "x y " * 200}, ROW], console.width)
    console.print(table)
    assert (len(capsys.readouterr().out.splitlines()), left_out) == (3, [])


@pytest.mark.parametrize(("columns", "left_out"), [("80", True), ("400", False)])
def test_a_terminal_is_told_what_does_not_fit(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, left_out: bool
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_rows([ROW], as_json=False)
    assert ("not shown for want of room: updated_at, why;" in capsys.readouterr().err) is left_out


def test_fields_that_have_a_value_are_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields({"id": "events-0-1", "row": {"payload": JsonText('{"a": 1e999}')}, "sqlstate": None})
    assert capsys.readouterr().out == 'id        events-0-1\nrow       {"payload": {"a": 1e999}}\n'
