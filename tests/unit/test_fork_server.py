"""A process of the fork server is as one by exec."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from keepstream.app.embedded.process import runs
from tests.fork_server import ForkedWorker, fork_server, is_forkable, run_command
from tests.real import eventually

NOWHERE = {
    "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "KEEPSTREAM_POSTGRES__URL": "postgresql://127.0.0.1:1/x",
    "KEEPSTREAM_HTTP__PORT": "0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        (["events", "validate", "-"], b'{"event_id": "e", "payload": {}}\nbroken\n', 1),
        (["worker", "--batch-size", "none"], b"", 2),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else "",
)
def test_a_command_says_the_same_and_ends_with_the_same_code(
    tmp_path: Path, arguments: Sequence[str], stdin: bytes, code: int
) -> None:
    environment = {**os.environ, **NOWHERE}
    forked = run_command(arguments, environment, tmp_path, stdin)
    other = subprocess.run(forked.args, env=environment, cwd=tmp_path, input=stdin, capture_output=True, check=False)
    assert (forked.returncode, forked.stdout, forked.stderr) == (other.returncode, other.stdout, other.stderr)
    assert forked.returncode == code


def test_a_worker_ends_with_the_server(tmp_path: Path) -> None:
    worker = ForkedWorker(NOWHERE, tmp_path / "log")
    eventually(lambda: "serving" in worker.log_path.read_text(), 30, "it runs")
    server = fork_server(os.getpid())
    fork_server.cache_clear()
    server.kill()
    eventually(lambda: not runs(worker.pid), 10, "it ends")


@pytest.mark.parametrize("name", ["PYTHONPATH", "LD_PRELOAD", "LC_ALL"])
def test_what_only_exec_reads_is_left_to_it(name: str) -> None:
    assert is_forkable(os.environ)
    assert not is_forkable({**os.environ, name: "other"})
