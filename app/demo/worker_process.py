"""A worker in a child process, for the demo, benchmarks and tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from keepstream.app.embedded.process import TAIL_LINES, ChildProcess, Program, log_tail
from keepstream.app.errors import KeepstreamError

# -P: a folder named `app` in the current directory is not ours.
_WORKER = ("-P", "-m", "keepstream.app", "worker")


class WorkerProcess(ChildProcess):
    """``keepstream worker`` with ``environment`` added to the current one. It ends with its parent.

    ``command`` are other arguments to Python, for a worker that is not the product's own.
    """

    def __init__(self, environment: Mapping[str, str], log_path: Path, command: Sequence[str] = _WORKER) -> None:
        self.log_path = log_path
        argv = (sys.executable, *command)
        super().__init__(Program("worker", argv, log_path, "see its log", env={**os.environ, **environment}))

    def check(self) -> None:
        """Raise KeepstreamError when the worker has ended by itself."""
        if self.exit_code is not None:
            raise self.failure(f"ended with {self.exit_code}")

    def finish(self) -> None:
        """Stop the worker. Raises KeepstreamError unless it exits with 0."""
        # SIGTERM ends a worker that was started again just now and has no handler yet.
        if (code := self.stop()) not in (0, -signal.SIGTERM):
            raise self.failure(f"ended with {code} instead of 0")

    def failure(self, what: str) -> KeepstreamError:
        return KeepstreamError("demo_failed", f"the worker {what}; its log ends:\n{self.log_end()}")

    def log_end(self, lines: int = TAIL_LINES) -> str:
        return log_tail(self.log_path, lines)
