"""What commands print in a pipe, and how they wait for a server."""

from __future__ import annotations

import itertools
import json
import socket
import time
from datetime import UTC, datetime
from unittest.mock import Mock

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from keepstream.app.cli import output
from keepstream.app.cli.config import show
from keepstream.app.cli.output import print_json, print_rows, wait_until_reachable
from keepstream.app.config.settings import HttpSettings
from keepstream.app.errors import REFUSED, UNREACHABLE, KeepstreamError
from keepstream.app.worker.http_server import Endpoint
from keepstream.schemas.json_text import JsonText, json_text_of


def unreachable(exit_code: int = UNREACHABLE) -> KeepstreamError:
    return KeepstreamError("unreachable", "no server answers", exit_code=exit_code)


def test_a_pipe_gets_whole_names() -> None:
    printed = CliRunner().invoke(show, env={"COLUMNS": None}).output
    assert [line for line in printed.splitlines() if line.startswith("KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS ")]


@pytest.mark.parametrize("columns", [None, "80"])
def test_a_row_is_one_line_in_a_pipe(
    columns: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns) if columns else monkeypatch.delenv("COLUMNS", raising=False)
    rows = [{"n": 1, "name": "x" * 500, "note": None}, {"n": 100, "name": "two\nlines\x1b[2J", "note": {"a": [1]}}]
    print_rows(rows, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    escaped = r"two lines\x1b[2J"
    assert lines == [f"  n  {'name':500}  note", f"  1  {'x' * 500}", f'100  {escaped:500}  {{"a": [1]}}']


def test_json_that_is_stored_is_printed_with_its_digits(capsys: pytest.CaptureFixture[str]) -> None:
    stored = JsonText('{"tiny": 1e-999, "long": 0.123456789012345678901234567890, "n": ' + "9" * 5000 + "}")
    print_json({"event": {"payload": stored, "at": datetime(2026, 1, 1, tzinfo=UTC)}, "none": [None, True]})
    printed = f'{{"event": {{"payload": {stored}, "at": "2026-01-01T00:00:00.000Z"}}, "none": [null, true]}}'
    assert capsys.readouterr().out == printed + "\n"


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12,
))  # fmt: skip
def test_json_is_written_as_the_standard_library_does(document: object) -> None:
    assert json_text_of(document) == json.dumps(document, ensure_ascii=False)


def test_a_server_is_waited_for_until_it_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "WAIT_BETWEEN_S", 0)
    attempts = Mock(side_effect=[unreachable(), unreachable(), "connected"])
    assert wait_until_reachable(attempts, 60) == "connected"
    assert capsys.readouterr().err.count("waiting: no server answers") == 2


def test_waiting_ends_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "WAIT_BETWEEN_S", 0)
    clock = itertools.count(0, 10)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    attempts = Mock(side_effect=unreachable())
    with pytest.raises(KeepstreamError, match="no server answers"):
        wait_until_reachable(attempts, 25)
    assert attempts.call_count == 3


@pytest.mark.parametrize(("exit_code", "wait_s"), [(REFUSED, 60), (UNREACHABLE, 0)])
def test_what_waiting_does_not_mend_is_not_waited_for(exit_code: int, wait_s: float) -> None:
    attempts = Mock(side_effect=unreachable(exit_code))
    with pytest.raises(KeepstreamError):
        wait_until_reachable(attempts, wait_s)
    attempts.assert_called_once()


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=rf"KEEPSTREAM_HTTP__HOST and __PORT, 127\.0\.0\.1:{port}: Address already"):
            Endpoint(HttpSettings(port=port), Mock())
