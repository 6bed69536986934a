"""What a log line looks like, and what never gets into one."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry, Counter
from pydantic import SecretStr

from keepstream.app.config.postgres import PostgresSettings
from keepstream.app.config.settings import LogSettings, Settings
from keepstream.app.telemetry import logging as logs

Lines = Callable[[], list[dict[str, Any]]]

PASSWORD = 'c4n"ary%2F'  # noqa: S105
URL = f"postgresql://u:{PASSWORD}@localhost/d"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Give the process's logging back as it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    yield
    root.handlers[:], root.level, sys.excepthook, threading.excepthook = before
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def settings(log_format: str = "json", level: str = "info") -> Settings:
    log = LogSettings.model_validate({"format": log_format, "level": level})
    return Settings(log=log, postgres=PostgresSettings(url=SecretStr(URL)), _env_file=None)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Configure JSON, and return what was written so far."""
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    logs.configure(settings())
    return lambda: [json.loads(line) for line in stderr.getvalue().splitlines()]


@pytest.mark.parametrize(
    "name", ["faust.agents", "mode.services", "aiokafka.conn", "psycopg.pool", "keepstream.sinks.kafka.dead_letters"]
)
def test_a_librarys_warning_is_one_json_line_with_the_same_fields_as_ours(name: str, lines: Lines) -> None:
    logging.getLogger(name).warning("odd: %s", "thing")
    structlog.stdlib.get_logger("keepstream").warning("odd: thing")
    theirs, ours = lines()
    assert theirs["logger"] == name
    assert {**theirs, "logger": "", "timestamp": ""} == {**ours, "logger": "", "timestamp": ""}


def test_a_librarys_information_is_left_out(lines: Lines) -> None:
    for name in ("faust", "mode", "aiokafka.consumer.group_coordinator", "psycopg.pool"):
        logging.getLogger(name).info("chatter")
    logging.getLogger("keepstream.app.worker.run").info("serving")
    assert [line["event"] for line in lines()] == ["serving"]


def test_a_task_that_was_cancelled_has_not_crashed(lines: Lines) -> None:
    counter = Counter("warnings", "", ["level"], registry=CollectorRegistry())
    logs.count(counter)
    for error in (asyncio.CancelledError(), ValueError()):
        try:
            raise error
        except (asyncio.CancelledError, ValueError):
            logging.getLogger("faust.agents.actor").exception("crashed of %s", type(error).__name__)
    assert [line["event"] for line in lines()] == ["crashed of ValueError"]
    assert counter.labels("error")._value.get() == 1


def test_at_debug_libraries_speak_but_for_aiokafka_which_writes_whole_records(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(settings(level="debug"))
    for name in ("faust", "aiokafka.conn", "aiokafka.consumer.fetcher"):
        logging.getLogger(name).debug("%s speaks", name)
    assert [json.loads(line)["logger"] for line in capsys.readouterr().err.splitlines()] == ["faust"]


def test_every_log_line_of_a_task_names_its_batch(lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(topic="t", partition=3, offset=7):
        structlog.stdlib.get_logger("keepstream").info("ours")
        logging.getLogger("keepstream.app.worker.run").info("theirs")
    assert [(line["topic"], line["partition"], line["offset"]) for line in lines()] == [("t", 3, 7)] * 2


def test_warnings_and_crashes_of_any_thread_are_lines_too(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    warned, crashed = lines()
    assert "DeprecationWarning: old" in warned["event"]
    assert crashed["event"] == "uncaught ZeroDivisionError"
    assert "division by zero" in crashed["exception"]


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("text", ["a\nFORGED line", "\x1b[2Jgone", "bell\x07", "\u202eright to left", "\u2028", "\r"])
def test_control_characters_cannot_forge_a_line_or_move_a_cursor(
    log_format: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(settings(log_format))
    structlog.stdlib.get_logger("keepstream").warning("dead letter", event_id=text, correlation_id=text)
    logging.getLogger("aiokafka").error("said %s", text)
    written = capsys.readouterr().err
    assert written.count("\n") == 2
    assert all(char.isprintable() for line in written.split("\n") for char in line)


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("secret", [URL, PASSWORD, 'c4n"ary/'])
def test_no_secret_of_the_settings_is_logged(log_format: str, secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(settings(log_format))
    log = structlog.stdlib.get_logger("keepstream")
    log.warning("connecting to %s", secret, url=secret)
    try:
        int(secret)
    except ValueError:
        logging.getLogger("psycopg.pool").exception("cannot connect to %r", secret)
        log.exception("failed")
    written = capsys.readouterr().err
    assert "c4n" not in written
    assert "***" in written


def test_secrets_are_found_wherever_the_settings_hold_them() -> None:
    assert set(logs.secrets_of(settings())) == {URL, PASSWORD, 'c4n"ary/'}


def test_warnings_and_worse_are_counted_by_level(lines: Lines) -> None:
    counter = Counter("lines", "", ["level"], registry=CollectorRegistry())
    logs.count(counter)
    log = logging.getLogger("keepstream.app.worker.run")
    log.info("1")
    log.warning("2")
    log.error("3")
    log.error("4")
    counts = {level: counter.labels(level)._value.get() for level in ("info", "warning", "error", "critical")}
    assert counts == {"info": 0, "warning": 1, "error": 2, "critical": 0}
    assert len(lines()) == 4
