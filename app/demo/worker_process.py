"""Keeps one worker running: what systemd or Kubernetes would do."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from keepstream.app.demo.supervised import WorkerProcess

if TYPE_CHECKING:
    from pathlib import Path


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
