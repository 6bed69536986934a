"""Base class of the embedded servers: home folder, port and life cycle."""

from __future__ import annotations

import signal
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from keepstream.app.embedded.errors import EmbeddedUnavailableError
from keepstream.app.embedded.ports import free_port
from keepstream.app.embedded.process import ChildProcess
from keepstream.app.embedded.sandbox import Scratch, create

PORT_TAKEN = "Address already in use"
PORT_TRIES = 3


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
        self._scratch: Scratch | None = None
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
                if not moves_left or not self._may_move or PORT_TAKEN not in str(error):
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
            self._drop_scratch()
            if isinstance(error, OSError):
                raise EmbeddedUnavailableError(self.part, str(error), self.hint) from error
            raise

    def stop(self, *, keep_data: bool = False) -> None:
        """Stop the server orderly. Temporary data are removed, unless `keep_data`."""
        process, self._process = self._process, None
        if process is not None:
            process.stop(signum=self.stop_signal)
            self._stopped(process)
        if not keep_data:
            self._drop_scratch()

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
        if self._scratch is None:
            self._scratch = create(self.kind, Path(tempfile.gettempdir()))
        return self._scratch.path

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

    def _drop_scratch(self) -> None:
        folder, self._scratch = self._scratch, None
        if folder is not None:
            folder.remove()
