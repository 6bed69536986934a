"""`keepstream health` and the first moments of process 1, with the real kernel."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from keepstream.app.cli import health as module
from keepstream.app.cli.health import health, listening_addresses
from keepstream.app.errors import KeepstreamError
from tests.real import eventually

ANSWERING = """
import sys, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[2]) if self.path == "/livez" else 404)
        self.end_headers()
        self.wfile.write(b"what it says")
    def log_message(self, *_args):
        pass
http.server.HTTPServer((sys.argv[1], 0), Handler).serve_forever()
"""
PROCESS_1 = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]


@contextmanager
def process(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen([sys.executable, *argv])
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def only(started: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, command: bytes = b"worker") -> Path:
    """Let the command see one process, as in a container: other tests run workers on this machine."""
    folder = Path("/proc") / str(started.pid)
    monkeypatch.setattr(module, "_words", lambda path: {b"keepstream", command} if path.parent == folder else set())
    return folder


@pytest.mark.parametrize(("host", "status", "exit_code"), [("127.0.0.9", 200, 0), ("127.0.0.1", 503, 1)])
def test_it_asks_where_the_process_listens(
    host: str, status: int, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with process("-c", ANSWERING, host, str(status)) as server:
        folder = only(server, monkeypatch)
        eventually(lambda: [*listening_addresses([folder])], 10, "it listens")
        result = CliRunner().invoke(health)
        said = result.output + str(getattr(result.exception, "message", ""))
        assert re.search(rf"{host}:\d+: what it says", said)
        assert bool(result.exception) == bool(exit_code)


@pytest.mark.parametrize(
    ("command", "enabled", "exit_code"), [(b"worker", "true", 1), (b"worker", "false", 0), (b"audit", "true", 0)]
)
def test_a_process_that_does_not_listen_is_alive_where_it_need_not(
    command: bytes, enabled: str, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with process("-c", "import time; time.sleep(60)") as idle:
        only(idle, monkeypatch, command)
        assert CliRunner().invoke(health, env={"KEEPSTREAM_HTTP__ENABLED": enabled}).exit_code == exit_code


def test_a_server_that_stands_still_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.3)
    with process("-c", ANSWERING, "127.0.0.1", "200") as server:
        folder = only(server, monkeypatch)
        eventually(lambda: [*listening_addresses([folder])], 10, "it listens")
        server.send_signal(signal.SIGSTOP)
        assert "no answer" in str(CliRunner().invoke(health).exception)


def test_without_a_process_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_words", lambda _cmdline: set())
    assert "no process" in str(CliRunner().invoke(health).exception)


def test_an_unspecified_ipv6_address_is_asked_on_loopback() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6) as server:
        found = [*listening_addresses([Path("/proc/self")])]
        assert ("::1", server.getsockname()[1]) in found


def test_a_process_that_ends_while_it_is_looked_at_does_no_harm() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = [*listening_addresses([Path("/proc/0"), Path("/proc/self")])]
        assert ("127.0.0.1", server.getsockname()[1]) in found


def test_itself_is_no_process_to_ask() -> None:
    assert module._words(Path("/proc") / str(os.getpid()) / "cmdline") == set()


def catches_sigterm(pid: int) -> bool:
    status = (Path("/proc") / str(pid) / "status").read_text()
    found = re.search(r"^SigCgt:\s+([0-9a-f]+)$", status, re.MULTILINE)
    return bool(found and int(found[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_process_1_takes_sigterm_before_it_imports_anything_large(tmp_path: Path) -> None:
    """The kernel discards a SIGTERM that process 1 has no handler for, and imports take a third of a second."""
    if subprocess.run([*PROCESS_1, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no user namespaces here")
    (tmp_path / "click.py").write_text("import time; time.sleep(60)")  # an import that takes its time
    argv = [*PROCESS_1, sys.executable, "-P", "-m", "keepstream.app", "config", "show"]
    with subprocess.Popen(argv, env=os.environ | {"PYTHONPATH": str(tmp_path)}) as unshare:
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
        eventually(lambda: children.read_text().split(), 10, "process 1 is there")
        child = int(children.read_text().split()[0])
        eventually(lambda: catches_sigterm(child), 10, "it catches SIGTERM")
        os.kill(child, signal.SIGTERM)
        assert unshare.wait(10) == 128 + signal.SIGTERM


def test_where_there_is_no_proc_it_names_what_to_ask_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS; no process being found would read as a worker that is dead."""
    monkeypatch.setattr(module, "PROC", tmp_path / "proc")
    error = CliRunner().invoke(health).exception
    assert isinstance(error, KeepstreamError)
    assert "Linux" in error.message
    assert "/livez" in error.hint
