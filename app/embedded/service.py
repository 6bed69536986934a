"""Base class of the embedded servers: home folder, port and life cycle.

A temporary home is removed after its owner has ended, also after kill -9. The owner locks it, and the kernel releases
the lock: a process id would be ambiguous between process namespaces that share one /tmp.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import socket
import tempfile
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from keepstream.app.embedded import EmbeddedUnavailableError
from keepstream.app.embedded.process import ChildProcess

LOOPBACK = "127.0.0.1"
PORT_TAKEN = "Address already in use"
PORT_TRIES = 3
HOME_PREFIX = "keepstream-server-"
_UNLOCKED = "new-"


def free_port() -> int:
    """Return a loopback port without a listener. Raises OSError when 50 are taken."""
    # Below Linux' default range for outgoing connections: no client socket takes the port of a server that restarts.
    for port in random.SystemRandom().sample(range(15_000, 32_000), 50):
        with suppress(OSError):
            socket.create_server((LOOPBACK, port)).close()
            return port
    raise OSError(f"{PORT_TAKEN}: 50 ports of {LOOPBACK}")


@dataclass(frozen=True)
class TemporaryHome:
    """A locked temporary folder."""

    path: Path
    _lock: int

    @classmethod
    def create(cls, kind: str, root: Path) -> Self:
        """Create and lock `root`/keepstream-server-`kind`-…, after removing folders of ended owners in `root`.

        Its mode is 0711: other users may enter a folder of theirs below, and see no names.
        """
        sweep(root)
        # Locked before it is renamed: `sweep` never sees the name without the lock.
        unlocked = Path(tempfile.mkdtemp(prefix=f"{_UNLOCKED}{HOME_PREFIX}{kind}-", dir=root))
        unlocked.chmod(0o711)
        lock = os.open(unlocked, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return cls(unlocked.rename(root / unlocked.name.removeprefix(_UNLOCKED)), lock)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def sweep(root: Path) -> None:
    """Remove the folders of ended owners in `root`."""
    for folder in root.glob(f"{HOME_PREFIX}*"):
        with suppress(OSError):  # removed meanwhile, or a link
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            with suppress(BlockingIOError):  # in use
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


class EmbeddedService(ABC):
    """A server in a child process. Its data are in `data_dir`, or in a temporary folder without one.

    Not thread-safe: start and stop it from one thread at a time.
    """

    kind: ClassVar[str]
    part: ClassVar[str]
    hint: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, data_dir: Path | None, port: int) -> None:
        self._data_dir = data_dir
        self._temporary_home: TemporaryHome | None = None
        self._process: ChildProcess | None = None
        self._may_move = not port and data_dir is None
        self.port = port or free_port()

    def start(self) -> None:
        """Start, and wait until the server answers; does nothing if it runs.

        A free port that was taken meanwhile is replaced at the first start only: later clients may know it. Raises
        EmbeddedUnavailableError, and leaves no process and no temporary data then.
        """
        if self.pid is not None:
            return
        for moves_left in reversed(range(PORT_TRIES)):
            try:
                self._start()
                break
            except EmbeddedUnavailableError as error:
                if not moves_left or not self._may_move or PORT_TAKEN not in error.message:
                    raise
                self._choose_ports()
        self._may_move = False

    def _choose_ports(self) -> None:
        self.port = free_port()

    def _start(self) -> None:
        try:
            self._launch(self.home())
        except BaseException as error:
            self.kill()
            self._remove_temporary_home()
            if isinstance(error, OSError):
                raise EmbeddedUnavailableError(self.part, str(error), self.hint) from error
            raise

    def stop(self, *, keep_data: bool = False) -> None:
        """Stop the server orderly. Temporary data are removed, unless `keep_data`."""
        if self._process is not None:
            self._process.stop(signum=self.stop_signal)
        self.kill()
        if not keep_data:
            self._remove_temporary_home()

    def kill(self) -> None:
        """SIGKILL the server and its descendants; the data are kept."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._stopped(process)

    def restart(self) -> None:
        """Stop if it runs, and start again on the same port and data."""
        self.stop(keep_data=True)
        self.start()

    @property
    def pid(self) -> int | None:
        """Process id of the server; None while it does not run."""
        return self._process.pid if self._process is not None and self._process.exit_code is None else None

    @property
    def log_path(self) -> Path:
        """The server's log, appended to at each start; removed with a temporary home."""
        return self.home() / f"{self.kind}.log"

    def home(self) -> Path:
        """Return the folder of data and log, created at the first call."""
        if self._data_dir is not None:
            self._data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
            return self._data_dir.resolve()
        if self._temporary_home is None:
            self._temporary_home = TemporaryHome.create(self.kind, Path(tempfile.gettempdir()))
        return self._temporary_home.path

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @abstractmethod
    def _launch(self, home: Path) -> None:
        """Prepare `home`, set `_process`, wait until it is ready."""

    @abstractmethod
    def _stopped(self, process: ChildProcess) -> None:
        """Clean up after an ended process."""

    def _remove_temporary_home(self) -> None:
        folder, self._temporary_home = self._temporary_home, None
        if folder is not None:
            folder.remove()
