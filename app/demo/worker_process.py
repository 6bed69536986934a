"""Keeps one worker running: what systemd or Kubernetes would do."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from keepstream.app.embedded.process import ChildProcess, Program, log_tail


class WorkerProcess:
    """``keepstream worker`` with the given environment on top of ours; its log goes to a file.

    It dies with its starter, also when that is killed.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        log_path: Path,
        command: Sequence[str] = ("-m", "keepstream.app", "worker"),
    ) -> None:
        self.log_path = log_path
        # -P: a folder named `app` in the current directory is not ours.
        argv = (sys.executable, "-P", *command)
        program = Program("worker", argv, log_path, "see its log", env={**os.environ, **environment})
        self._child = ChildProcess(program)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return self._child.exit_code

    def stop(self, timeout_s: float = 30.0) -> int:
        """Ask it to drain and return its exit code; it is killed when it takes longer."""
        self._child.stop(timeout_s=timeout_s)
        code = self._child.exit_code
        return -signal.SIGKILL if code is None else code

    def kill(self) -> None:
        """Kill it the way a power cut would."""
        self._child.kill()

    def log_end(self, lines: int = 15) -> str:
        return log_tail(self.log_path, lines)


class DemoError(RuntimeError):
    """The demo could not be finished; the message says why."""


class Supervisor:
    """One worker, restarted when it is killed."""

    def __init__(self, environment: dict[str, str], log_path: Path) -> None:
        self._environment = environment
        self._log_path = log_path
        self._turn = threading.Lock()
        self.worker = WorkerProcess(environment, log_path)

    def kill_and_restart(self) -> None:
        with self._turn:
            self.worker.kill()
            self.worker = WorkerProcess(self._environment, self._log_path)

    def check(self) -> None:
        """Raise DemoError when the worker ended without being told to."""
        with self._turn:
            if self.worker.exit_code is not None:
                raise DemoError(f"the worker ended with {self.worker.exit_code}; it said:\n{self.log_end()}")

    def finish(self) -> None:
        """Stop the worker in good order."""
        if code := self.worker.stop():
            raise DemoError(f"the worker ended with {code} instead of 0; it said:\n{self.log_end()}")

    def log_end(self) -> str:
        return self.worker.log_end()
