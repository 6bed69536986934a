"""What commands print in a pipe, and how they wait for a server."""

from __future__ import annotations

import itertools
import socket
import time
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from keepstream.app.cli import output
from keepstream.app.cli.config import show
from keepstream.app.cli.output import wait_until_reachable
from keepstream.app.config.settings import HttpSettings
from keepstream.app.errors import REFUSED, UNREACHABLE, KeepstreamError
from keepstream.app.worker.http_server import Endpoint


def unreachable(exit_code: int = UNREACHABLE) -> KeepstreamError:
    return KeepstreamError("unreachable", "no server answers", exit_code=exit_code)


def test_a_pipe_gets_whole_names() -> None:
    printed = CliRunner().invoke(show, env={"COLUMNS": None}).output
    assert [line for line in printed.splitlines() if line.startswith("KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS ")]


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
