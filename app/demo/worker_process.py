"""A worker in a child process, for the demo, benchmarks and tests."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from keepstream.app.embedded.process import ChildProcess, Program, log_tail


class DemoError(RuntimeError):
    """The demo could not be finished; the message gives the reason."""


# -P: a folder named `app` in the current directory is not ours.
_WORKER = ("-P", "-m", "keepstream.app", "worker")


class WorkerProcess:
    """``keepstream worker`` with ``environment`` added to the current one. It ends with its parent.

    ``command`` are other arguments to Python, for a worker that is not the product's own.
    """

    def __init__(self, environment: Mapping[str, str], log_path: Path, command: Sequence[str] = _WORKER) -> None:
        self.log_path = log_path
        argv = (sys.executable, *command)
        self._program = Program("worker", argv, log_path, "see its log", env={**os.environ, **environment})
        self._child = ChildProcess(self._program)
        self._restarting = threading.Lock()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number after a signal."""
        return self._child.exit_code

    def stop(self, timeout_s: float = 30.0) -> int:
        """Send SIGTERM, kill it after the timeout, and return the exit code."""
        self._child.stop(timeout_s=timeout_s)
        code = self._child.exit_code
        return -signal.SIGKILL if code is None else code

    def kill(self) -> None:
        self._child.kill()

    def kill_and_restart(self) -> None:
        with self._restarting:
            self._child.kill()
            self._child = ChildProcess(self._program)

    def check(self) -> None:
        """Raise DemoError when the worker has ended by itself."""
        with self._restarting:
            if self.exit_code is not None:
                raise DemoError(f"the worker ended with {self.exit_code}; its log ends:\n{self.log_end()}")

    def finish(self) -> None:
        """Stop the worker. Raises DemoError unless it exits with 0."""
        if code := self.stop():
            raise DemoError(f"the worker ended with {code} instead of 0; its log ends:\n{self.log_end()}")

    def log_end(self, lines: int = 15) -> str:
        return log_tail(self.log_path, lines)
