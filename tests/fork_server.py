"""Workers and commands forked from a process that has imported them: the imports cost a second of CPU each time.

As Python's own ``forkserver``: a process without threads that does nothing but fork. A child gets the arguments, the
environment, the folder and the streams that it would get from exec. `is_forkable` says where only exec will do.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TextIO, cast

import keepstream.app.cli
from keepstream.app.embedded.process import WorkerProcess
from keepstream.app.process.launch import PR_SET_PDEATHSIG

READ_AT_EXEC = ("PYTHON", "LD_", "MALLOC_", "LC_", "LANG", "NO_CYTHON")
"""Prefixes of variables that have no effect any more once Python runs, or Faust is imported."""
POLL_S = 0.01
USED_BY_COMMANDS = (
    "app.worker.run", "app.config.contract_schema", "app.connect.services", "app.dlq.page", "app.dlq.replay",
    "app.status.audit", "app.status.report", "app.web.server", "sinks.dead_letter_file", "sinks.postgres.events",
)  # fmt: skip


def read_at_exec(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_EXEC)}


_AT_START = read_at_exec(os.environ)


def is_forkable(environment: Mapping[str, str]) -> bool:
    """Return whether a process with this whole environment may be forked."""
    return sys.platform == "linux" and read_at_exec(environment) == _AT_START


class ForkServer:
    """The client's end. The server and its children end with the process that started it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            argv = [sys.executable, "-P", __file__]
            self._process = subprocess.Popen(argv, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
        self._connection, self._lock = self._socket.makefile("rw"), threading.Lock()

    def ask(self, **request: Any) -> Any:
        """Send a request and return the answer."""
        with self._lock:
            print(json.dumps(request), file=self._connection, flush=True)
            return json.loads(self._connection.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._socket.close()


@cache
def fork_server(_owner_pid: int) -> ForkServer:
    return ForkServer()


class Forked:
    """``keepstream ARGUMENTS``, with what is used of `subprocess.Popen`. Streams are files; output is appended."""

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, stdin: Path, *out: Path
    ) -> None:
        self._server, self._code, self._asking = fork_server(os.getpid()), cast("int | None", None), threading.Lock()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        given = {"arguments": [*arguments], "environment": dict(environment), "folder": str(folder)}
        self.pid = int(self._server.ask(**given, streams=[*map(str, (stdin, *out))], files_limit=limits))

    def poll(self) -> int | None:
        with self._asking:  # the code can be had once
            if self._code is None:
                self._code = self._server.ask(pid=self.pid)
            return self._code

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("keepstream", cast("float", timeout))
            time.sleep(POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


@contextmanager
def forked_with_pipe(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[tuple[Forked, TextIO]]:
    """Yield ``keepstream ARGUMENTS`` in the current folder, and its stderr."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as stderr:
        try:
            nothing, pipe = Path(os.devnull), Path(f"/proc/{os.getpid()}/fd/{writing}")
            forked = Forked(arguments, environment, Path.cwd(), nothing, nothing, pipe)
        finally:
            os.close(writing)
        yield forked, stderr


class ForkedWorker(WorkerProcess):
    """``keepstream worker`` from the fork server."""

    def start(self) -> None:
        log, environment = self.program.log_path, self.program.env
        self._popen = cast("Any", Forked(["worker"], environment, log.parent, Path(os.devnull), log, log))


def worker_process(environment: Mapping[str, str], log_path: Path) -> WorkerProcess:
    """Start ``keepstream worker`` with ``environment`` added to the current one."""
    kind = ForkedWorker if is_forkable({**os.environ, **environment}) else WorkerProcess
    return kind(environment, log_path)


def run_command(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, stdin: bytes = b"", timeout_s: float = 120
) -> subprocess.CompletedProcess[bytes]:
    """Run ``keepstream ARGUMENTS`` off a terminal, with this whole environment."""
    argv = [sys.executable, "-P", "-m", "keepstream.app", *arguments]
    if not is_forkable(environment):
        return subprocess.run(
            argv, env=environment, cwd=folder, input=stdin, capture_output=True, timeout=timeout_s, check=False
        )
    with tempfile.TemporaryDirectory() as home:
        given, out, err = (Path(home) / name for name in ("in", "out", "err"))
        given.write_bytes(stdin)
        forked = Forked(arguments, environment, folder, given, out, err)
        try:
            code = forked.wait(timeout_s)
        except subprocess.TimeoutExpired:
            forked.send_signal(signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(argv, code, out.read_bytes(), err.read_bytes())


def serve(connection: socket.socket) -> None:
    """Fork, and return exit codes, until the client ends."""
    with connection.makefile("rw") as lines:
        for line in lines:
            request = json.loads(line)
            if "pid" in request:
                done, status = os.waitpid(request["pid"], os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if done else None
            else:
                answer = fork(connection, request)
            print(json.dumps(answer), file=lines, flush=True)


def fork(connection: socket.socket, request: dict[str, Any]) -> int:
    """Return the process id of a child whose streams are open."""
    with ExitStack() as stack:
        paths = [(Path(path), "ab" if number else "rb") for number, path in enumerate(request.pop("streams"))]
        streams = [stack.enter_context(path.open(mode)) for path, mode in paths]
        if not (pid := os.fork()):
            os.close(connection.detach())
            for number, (stream, name) in enumerate(zip(streams, ("stdin", "stdout", "stderr"), strict=True)):
                os.dup2(stream.fileno(), number)
                was = getattr(sys, name)  # it may take a pipe for a file that can seek
                new = os.fdopen(number, was.mode, encoding=was.encoding, errors=was.errors, closefd=False)
                new.reconfigure(line_buffering=was.line_buffering)
                setattr(sys, name, new)
            stack.close()
            become(**request)
            end_with(keepstream.app.cli.main)
        return pid


def become(arguments: Sequence[str], environment: Mapping[str, str], folder: str, files_limit: tuple[int, int]) -> None:
    """Take over what else exec would have given to this process, and end with the server."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != _SERVER_PID:
        os._exit(1)
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_NOFILE, files_limit)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["keepstream", *arguments]


def end_with(main: Callable[[], None]) -> None:
    """Run the program and exit. The interpreter's own end would take all modules down again, for most of a second."""
    try:
        main()
    except SystemExit as ended:
        threading._shutdown()  # type: ignore[attr-defined]  # joins threads and pools; neither has another name
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(ended.code if isinstance(ended.code, int) else int(ended.code is not None))


_SERVER_PID = os.getpid()

if __name__ == "__main__":
    for command in pkgutil.iter_modules(keepstream.app.cli.__path__):
        importlib.import_module(f"keepstream.app.cli.{command.name}")
    for module in USED_BY_COMMANDS:
        importlib.import_module(f"keepstream.{module}")
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as served:
        serve(served)
