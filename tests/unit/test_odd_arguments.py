"""No command line ends with a traceback or a signal."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepstream.app.cli import root as command_line
from keepstream.app.connect.services import Services
from keepstream.app.dlq import replay
from keepstream.app.errors import UNREACHABLE, KeepstreamError
from keepstream.schemas.dead_letter_json import InvalidExportError, from_json_line
from tests.odd_arguments import ODD_INPUTS, command_lines, commands, run

COMMANDS = [*commands()]
NO_SERVERS = {
    "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "KEEPSTREAM_POSTGRES__URL": "postgresql://127.0.0.1:1/x",
}


def away(*_arguments: object, **_named: object) -> NoReturn:
    raise KeepstreamError("away", "no server answers", exit_code=UNREACHABLE)


@pytest.fixture(autouse=True)
def without_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let every connection fail at once: what is tested comes before."""
    monkeypatch.setattr(Services, "admin", away)
    monkeypatch.setattr(Services, "postgres", away)
    monkeypatch.chdir(tmp_path)


# click leaves a file open when a later argument is refused; the process ends then.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@given(data=st.data())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_odd_values_end_with_a_known_exit_code(path: tuple[str, ...], data: Any) -> None:
    run(data.draw(command_lines(path)), data.draw(st.sampled_from(ODD_INPUTS)))


def keepstream(
    *words: str | bytes, stdout: int = subprocess.PIPE, environment: Mapping[str, str] = NO_SERVERS
) -> tuple[int, str]:
    """Run a process; return its exit code and what it wrote to stderr."""
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "keepstream.app", *words], env={**os.environ, **NO_SERVERS, **environment},
        stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stderr.decode()


@pytest.mark.parametrize(
    "words",
    [
        (b"events", b"produce", b"--header", b"\xff=1", b"-"), (b"events", b"show", b"\xff"),
        (b"dlq", b"replay", b"\xff"),
        ("dlq", "list", "--since", "0001-01-01"), ("dlq", "list", "--limit", "9" * 20), ("lag", "--wait", "nan"),
        ("events", "produce", "--topic", "../x", "-"), ("dlq", "replay", "--to-topic", "a b"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_a_usage_error(words: tuple[str | bytes, ...]) -> None:
    code, said = keepstream(*words)
    assert code == 2
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("KEEPSTREAM_WEB__MASK_FIELDS", "card_number", "KEEPSTREAM_WEB__MASK_FIELDS holds no JSON"),
        ("KEEPSTREAM_STEPS", "mystep", "KEEPSTREAM_STEPS holds no JSON"),
        ("KEEPSTREAM_WEB__USERS", "ann:pw", "KEEPSTREAM_WEB__USERS holds no JSON"),
        ("KEEPSTREAM_WEB", "x", "KEEPSTREAM_WEB holds no JSON"),
        ("KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS", "kafka:x", "'kafka:x' is not host:port"),
        ("KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS", "kafka:99999", "'kafka:99999' is not host:port"),
        ("KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS", "\udcff", "BOOTSTRAP_SERVERS: this is not UTF-8 text"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_read_is_named(variable: str, value: str, part: str) -> None:
    code, said = keepstream("config", "show", environment={variable: value})
    assert (code, part in said, "Traceback" in said) == (2, True, False), said


@contextmanager
def closed_pipe() -> Iterator[int]:
    """A pipe that nothing reads any more, as `head` leaves it."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("words", [("config", "show"), ("config", "show", "--json"), ("--help",), ("dlq", "-h")])
def test_a_reader_that_left_is_no_error(words: tuple[str, ...]) -> None:
    with closed_pipe() as pipe:
        assert keepstream(*words, stdout=pipe) == (0, "")


def test_a_full_disk_is_one_line() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    assert keepstream("config", "show", stdout=full) == (1, "Error: No space left on device\n")
    os.close(full)


def test_a_terminal_of_another_encoding_gets_escapes() -> None:
    environment = {"PYTHONIOENCODING": "ascii", "KEEPSTREAM_LOG__WORKER": "\N{SNOWMAN}"}
    code, said = keepstream("config", "show", environment=environment)
    assert (code, "Error" in said) == (0, False)


def test_an_unexpected_error_is_one_line_without_its_text(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(**_options: object) -> NoReturn:
        raise RuntimeError("postgresql://u:s3cret@host")

    monkeypatch.setattr(command_line.root, "main", broken)
    for options, traced in (([], False), (["--debug"], True)):
        monkeypatch.setattr(sys, "argv", ["keepstream", *options, "lag"])
        with pytest.raises(SystemExit) as ended:
            command_line.run()
        assert ended.value.code == 1
        said = capfd.readouterr().err
        assert "Error: unexpected RuntimeError at test_odd_arguments.py:" in said
        assert ("s3cret" in said) is traced


@pytest.mark.parametrize(
    ("field", "value"),
    [("headers", [["\udcff", None]]), ("timestamp", 10**20), ("offset", -(2**70))],
)
def test_an_imported_dead_letter_that_the_client_cannot_send_is_refused(field: str, value: object) -> None:
    line = {"topic": "t", "partition": 0, "offset": 0, "timestamp": 0, "key": None, "value": None, "headers": []}
    with pytest.raises(InvalidExportError):
        from_json_line(json.dumps(line | {field: value}))


def test_a_user_without_a_name_is_named_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: pwd.getpwuid(2**31 - 5).pw_name)
    assert replay._user_name() == f"uid {os.getuid()}"
