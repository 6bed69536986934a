"""The parts that need no server."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from keepstream.app.connect.diagnose import listens
from keepstream.app.embedded import EmbeddedUnavailableError, kafka, process
from keepstream.app.embedded.kafka_jars import cache_root
from keepstream.app.embedded.postgres import _segment_id
from keepstream.app.embedded.postgres_binaries import reachable
from keepstream.app.embedded.process import ChildProcess, Program, log_tail
from keepstream.app.embedded.service import TemporaryHome, free_port, sweep
from keepstream.app.process import launch


def python(tmp_path: Path, code: str) -> Program:
    return Program("a part", (sys.executable, "-c", code), tmp_path / "log", "a hint")


def printed(program: Program, word: str) -> bool:
    return program.log_path.exists() and word in program.log_path.read_text()


def test_a_child_that_exits_early_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = ChildProcess(python(tmp_path, "print('what went wrong'); raise SystemExit(3)"))
    with pytest.raises(EmbeddedUnavailableError, match=r"(?s)exited with 3.*what went wrong") as caught:
        child.wait_ready(lambda: False, timeout_s=20)
    assert caught.value.message.startswith("a part: ")
    assert caught.value.hint == "a hint"


def test_a_child_that_is_never_ready_runs_into_the_deadline(tmp_path: Path) -> None:
    child = ChildProcess(python(tmp_path, "import signal; signal.pause()"))
    with pytest.raises(EmbeddedUnavailableError, match=r"not ready within 0\.1 s"):
        child.wait_ready(lambda: False, timeout_s=0.1)
    child.kill()
    assert child.exit_code == -signal.SIGKILL


def test_a_child_started_in_a_thread_outlives_that_thread(tmp_path: Path) -> None:
    program = python(tmp_path, "import signal; print('up', flush=True); signal.pause()")
    children: list[ChildProcess] = []
    thread = threading.Thread(target=lambda: children.append(ChildProcess(program)))
    thread.start()
    thread.join()
    children[0].wait_ready(lambda: printed(program, "up"), timeout_s=20)
    assert children[0].exit_code is None
    children[0].stop(timeout_s=5)
    assert children[0].exit_code == -signal.SIGTERM


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile 1: signal.pause()"
    program = python(tmp_path, code)
    child = ChildProcess(program)
    child.wait_ready(lambda: printed(program, "up"), timeout_s=20)
    child.stop(timeout_s=0.1)
    assert child.exit_code == -signal.SIGKILL


def test_a_kill_reaches_grandchildren_in_sessions_of_their_own(tmp_path: Path) -> None:
    code = """if 1:
        import signal, subprocess, sys
        deeper = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]
        subprocess.Popen(deeper, start_new_session=True)
        signal.pause()"""
    program = python(tmp_path, code)
    child = ChildProcess(program)
    child.wait_ready(lambda: printed(program, "up"), timeout_s=20)
    grandchildren = process.descendants(child.pid)
    child.kill()
    assert len(grandchildren) == 1
    assert not process.runs(grandchildren[0])


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    program = replace(python(tmp_path, ""), argv=(str(tmp_path / "missing"),))
    with pytest.raises(EmbeddedUnavailableError, match=r"cannot run .*missing"):
        ChildProcess(program).wait_success(timeout_s=20)


def test_a_program_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedUnavailableError, match=r"took longer than 0\.1 s"):
        ChildProcess(python(tmp_path, "import signal; signal.pause()")).wait_success(timeout_s=0.1)


def test_a_child_gets_the_usual_signal_handling(tmp_path: Path) -> None:
    shell = Program("a part", ("/bin/sh", "-c", "grep SigIgn /proc/self/status"), tmp_path / "log", "")
    ChildProcess(shell).wait_success(timeout_s=20)
    ignored = int((tmp_path / "log").read_text().split()[1], 16)
    restored = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM)
    # Others, like glibc's own 32, may come ignored from whoever started us; Python cannot even name them.
    assert not any(ignored >> (number - 1) & 1 for number in restored)


def test_a_system_without_death_signals_starts_programs_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """MacOS has no prctl, and its developers are not root: no change of user either."""
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, None)
    monkeypatch.setattr(ctypes, "CDLL", None)
    monkeypatch.setattr(sys, "platform", "darwin")
    launch._drop_root(-1, -1)
    launch._set_death_signal(os.getppid(), signal.SIGKILL)


def test_log_tail_says_so_when_there_is_no_log(tmp_path: Path) -> None:
    assert "no log" in log_tail(tmp_path / "missing")


def test_log_tail_starts_with_the_errors_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("\n".join(["1 ERROR it is taken", "2 INFO an Exception that is none", *map(str, range(100))]))
    assert log_tail(log, 2).splitlines() == ["1 ERROR it is taken", "98", "99"]


def test_a_temporary_folder_is_swept_only_when_its_owner_is_dead(tmp_path: Path) -> None:
    alive = TemporaryHome.create("kafka", tmp_path)
    child = os.fork()
    if child == 0:  # an owner that dies without tidying up
        with suppress(BaseException):
            TemporaryHome.create("postgres", tmp_path)
        os._exit(0)
    os.waitpid(child, 0)
    assert len(list(tmp_path.glob("keepstream-server-postgres-*"))) == 1
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [alive.path]
    alive.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_sweep_follows_no_link(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.mkdir()
    (tmp_path / "keepstream-server-link").symlink_to(target)
    sweep(tmp_path)
    assert target.exists()


def test_a_free_port_has_no_listener_and_can_be_bound() -> None:
    port = free_port()
    assert not listens("127.0.0.1", port)
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
        server.listen()
        assert listens("127.0.0.1", port)


def test_the_callers_broker_properties_win_and_backslashes_survive(tmp_path: Path) -> None:
    properties = kafka.broker_properties(tmp_path, 1, 2, {"num.partitions": "3", "x": "a\\b"})
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert "num.partitions=3\n" in kafka.render(properties)
    assert "x=a\\\\b\n" in kafka.render(properties)


def test_a_private_folder_is_not_reachable_for_others(tmp_path: Path) -> None:
    private = tmp_path / "private"
    (private / "bin").mkdir(parents=True)
    private.chmod(0o700)
    assert not reachable(private / "bin")


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "keepstream"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "keepstream"


def test_a_segment_is_freed_only_for_the_postmaster_that_died(tmp_path: Path) -> None:
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text("17\n/data\n0\n5432\n\n127.0.0.1\n  123   99\nready\n")
    assert _segment_id(pid_file, 17) == 99
    assert _segment_id(pid_file, 18) is None
    assert _segment_id(tmp_path / "missing", 17) is None


def test_the_error_names_part_reason_and_hint() -> None:
    error = EmbeddedUnavailableError("Kafka", "no network", "plug it in")
    assert str(error) == "Kafka: no network\nTo go on: plug it in"
