"""Child processes that log to a file and end with their parent."""

from __future__ import annotations

import functools
import os
import pwd
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from keepstream.app.embedded import EmbeddedUnavailableError
from keepstream.app.errors import KeepstreamError
from keepstream.app.process.launch import launch_argv

GONE_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.03
TAIL_LINES = 15
ERROR_LINES = 5
_WORKER = ("-P", "-m", "keepstream.app", "worker")  # -P: a folder named `app` in the current directory is not ours
_ERROR_LINE = re.compile(r"^(?!.* INFO ).*(?: (?:ERROR|FATAL) |Exception\b)")


def descendants(pid: int) -> list[int]:
    """Return the process ids of all descendants."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_gone(pids: Iterable[int], *, timeout_s: float = GONE_TIMEOUT_S) -> bool:
    """Wait until no process runs; False at the timeout."""
    deadline = time.monotonic() + timeout_s
    while any(runs(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@dataclass(frozen=True)
class Program:
    """A command line. `death_signal` is sent to the child when its parent ends without stopping it."""

    part: str
    argv: tuple[str, ...]
    log_path: Path
    hint: str
    account: pwd.struct_passwd | None = None
    death_signal: int = signal.SIGKILL
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


class ChildProcess:
    """A running `Program` in a session of its own: Ctrl-C reaches it only through its parent."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.start()

    def start(self) -> None:
        """Start the program, for the first time or after its end."""
        # Linux ties the death signal to the *thread* that forked, not to the process: a child
        # forked in a short-lived thread would be killed at that thread's end.
        self._popen = _spawner(os.getpid()).submit(_spawn, self.program).result()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return self._popen.poll()

    def wait_ready(self, probe: Callable[[], bool], *, timeout_s: float) -> None:
        """Poll `probe` until it is true.

        Raises EmbeddedUnavailableError with the end of the log if the child exits, or at the timeout.
        """
        deadline = time.monotonic() + timeout_s
        while not probe():
            if self.exit_code is not None:
                raise self._failure(f"exited with {self.exit_code} before it was ready")
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready within {timeout_s:g} s")
            time.sleep(POLL_S)

    def wait_success(self, *, timeout_s: float) -> None:
        """Wait for exit code 0; otherwise kill the process and raise EmbeddedUnavailableError."""
        try:
            if self._popen.wait(timeout_s) != 0:
                raise self._failure(f"exited with {self.exit_code}")
        except subprocess.TimeoutExpired:
            raise self._failure(f"took longer than {timeout_s:g} s") from None
        finally:
            self.kill()

    def stop(self, *, timeout_s: float = STOP_TIMEOUT_S, signum: int = signal.SIGTERM) -> int:
        """Send `signum`, wait, then kill the processes that are left. Return the exit code."""
        if self.exit_code is None:
            self._popen.send_signal(signum)
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout_s)
        self.kill()
        return self._popen.wait()

    def kill(self) -> None:
        """SIGKILL the child and its descendants; returns when none of them runs."""
        if self.exit_code is None:
            self._popen.send_signal(signal.SIGSTOP)  # no fork while the descendants are listed
            family = [*descendants(self.pid), self.pid]
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._popen.wait()
            wait_gone(family)

    def _failure(self, what: str) -> EmbeddedUnavailableError:
        reason = f"{Path(self.program.argv[0]).name} {what}; its log ends:\n{log_tail(self.program.log_path)}"
        return EmbeddedUnavailableError(self.program.part, reason, self.program.hint)


class WorkerProcess(ChildProcess):
    """``keepstream worker`` with ``environment`` added to the current one. It ends with its parent.

    ``command`` are other arguments to Python, for a worker that is not the product's own. Variables of the current
    environment that begin with one of ``without`` are left out.
    """

    def __init__(
        self, environment: Mapping[str, str], log_path: Path, command: Sequence[str] = _WORKER,
        without: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.log_path = log_path
        inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(without)}
        argv = (sys.executable, *command)
        super().__init__(Program("worker", argv, log_path, "see its log", env={**inherited, **environment}))

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


def log_tail(path: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, after earlier errors: a broker logs its error long before its last line."""
    try:
        written = path.read_text(errors="replace").splitlines()
    except OSError as error:
        return f"(no log: {error})"
    errors = [line for line in written[:-lines] if _ERROR_LINE.search(line)]
    return "\n".join([*errors[-ERROR_LINES:], *written[-lines:]])


@functools.cache
def _spawner(_owner_pid: int) -> ThreadPoolExecutor:
    """Return the one thread that forks. It ends with the interpreter, and with it the children that still run.

    One per process id: a thread does not survive a fork.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedded-spawner")


def _spawn(program: Program) -> subprocess.Popen[bytes]:
    uid, gid = (program.account.pw_uid, program.account.pw_gid) if program.account else (-1, -1)
    with program.log_path.open("ab") as log:
        return subprocess.Popen(
            launch_argv(program.argv, program.death_signal, uid, gid),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=program.log_path.parent,
            env=dict(program.env),
            start_new_session=True,
        )
