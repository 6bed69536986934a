"""A worker as a process of its own, started and ended by somebody: the demo, the tests."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from keepstream.app.embedded.process import ChildProcess, Program, log_tail

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class WorkerProcess:
    """``keepstream worker`` with the given environment on top of ours; its log goes to a file.

    It dies with its starter, also when that is killed.
    """

    def __init__(self, environment: Mapping[str, str], log_path: Path) -> None:
        self.log_path = log_path
        # -P: a folder named `app` in the current directory is not ours.
        argv = (sys.executable, "-P", "-m", "keepstream.app", "worker")
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
