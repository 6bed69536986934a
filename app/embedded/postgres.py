"""PostgreSQL in a child process, never as root, on loopback and with a password."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psycopg

from keepstream.app.embedded import POSTGRES_HINT, EmbeddedUnavailableError
from keepstream.app.embedded.postgres_binaries import PART, program_dir, reachable, runnable_by, unprivileged_account
from keepstream.app.embedded.process import ChildProcess, Program
from keepstream.app.embedded.service import LOOPBACK, EmbeddedService

USER, DATABASE = "keepstream", "postgres"
INITDB_TIMEOUT_S = 60.0
START_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5
_IPC_RMID = 0
_INITDB_ARGS = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions", "--no-sync")
_SERVER_SETTINGS = {
    "unix_socket_directories": "",
    # The default leaves files in /dev/shm after SIGKILL; these are in the data folder.
    "dynamic_shared_memory_type": "mmap",
}


class EmbeddedPostgres(EmbeddedService):
    """A PostgreSQL server without Docker. `settings` are passed as `-c name=value`; `bin_dir` replaces the wheel's.

    fsync stays on. Started by root, the server runs as an existing unprivileged user.
    """

    kind = "postgres"
    part = PART
    hint = POSTGRES_HINT
    stop_signal = signal.SIGINT  # ends sessions; SIGTERM would wait for them

    def __init__(
        self,
        *,
        data_dir: Path | None = None,
        port: int = 0,
        bin_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_dir, port)
        self._installed = bin_dir or program_dir()
        self._account = unprivileged_account()
        self._settings = dict(settings or {})

    @property
    def url(self) -> str:
        """The URL of the superuser and of the database that initdb creates."""
        password = (self.home() / "password").read_text(encoding="utf-8")
        return f"postgresql://{USER}:{password}@{LOOPBACK}:{self.port}/{DATABASE}"

    def _launch(self, home: Path) -> None:
        if self._account is not None and not reachable(home):
            reason = f"user {self._account.pw_name}, which runs it instead of root, cannot reach {home}"
            raise EmbeddedUnavailableError(PART, reason, f"choose another data folder or TMPDIR, or {POSTGRES_HINT}")
        bin_dir = runnable_by(self._account, self._installed, home)
        data = home / "pgdata"
        if not (data / "PG_VERSION").is_file():
            self._initdb(bin_dir, home, data)
        self._process = ChildProcess(self._program(bin_dir / "postgres", *self._server_args(data)))
        self._process.wait_ready(self._answers, timeout_s=START_TIMEOUT_S)

    def _stopped(self, process: ChildProcess) -> None:
        # A killed server leaves its shared memory. The next one on this folder removes it; without one it would stay.
        segment = _segment_id(self.home() / "pgdata" / "postmaster.pid", process.pid)
        if segment is not None:
            ctypes.CDLL(None).shmctl(segment, _IPC_RMID, None)

    def _initdb(self, bin_dir: Path, home: Path, data: Path) -> None:
        password_file = home / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(secrets.token_urlsafe(24), encoding="utf-8")
        data.mkdir(mode=0o700, exist_ok=True)
        if self._account is not None:
            for path in (data, password_file):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        args = (f"--pgdata={data}", f"--username={USER}", f"--pwfile={password_file}", *_INITDB_ARGS)
        ChildProcess(self._program(bin_dir / "initdb", *args)).wait_success(timeout_s=INITDB_TIMEOUT_S)

    def _server_args(self, data: Path) -> list[str]:
        settings = {"listen_addresses": LOOPBACK, "port": str(self.port), **_SERVER_SETTINGS, **self._settings}
        return ["-D", str(data), *(part for item in settings.items() for part in ("-c", "=".join(item)))]

    def _program(self, program: Path, *args: str) -> Program:
        # PGDATA, PGPORT and the like mean another server of the user.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # SIGKILL would leave backends and shared memory; at SIGQUIT the server cleans up.
        argv = (str(program), *args)
        return Program(PART, argv, self.log_path, POSTGRES_HINT, self._account, death_signal=signal.SIGQUIT, env=env)

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):  # "the database system is starting up"
            psycopg.connect(self.url, connect_timeout=CONNECT_TIMEOUT_S).close()
            return True
        return False


def _segment_id(postmaster_pid_file: Path, pid: int) -> int | None:
    """Return the id of the shared memory segment of the postmaster `pid`; None when the file is of another one."""
    try:
        lines = postmaster_pid_file.read_text(errors="replace").splitlines()
        return int(lines[6].split()[1]) if int(lines[0]) == pid else None  # the seventh line is "key id"
    except (OSError, IndexError, ValueError):
        return None
