"""PostgreSQL in a child process, never as root, on loopback and with a password."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql

from keepstream.app.embedded.errors import POSTGRES_HINT, EmbeddedUnavailableError
from keepstream.app.embedded.ports import LOOPBACK, listens
from keepstream.app.embedded.postgres_binaries import PART, Binaries, find_binaries, runnable_by
from keepstream.app.embedded.process import ChildProcess, Program, run_to_end
from keepstream.app.embedded.sandbox import reachable, scratch_root, unprivileged_account
from keepstream.app.embedded.service import EmbeddedService

IPC_RMID = 0
_SEGMENT_LINE = 6  # of postmaster.pid: "key id"


def remove_orphaned_segment(postmaster_pid_file: Path, dead_pid: int) -> None:
    """Remove the shared memory segment named in `postmaster.pid`, if the file is that of the ended postmaster.

    A server that is started again removes it itself; without another start it would stay until the reboot.
    """
    segment = _segment_id(postmaster_pid_file, dead_pid)
    if segment is not None and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).shmctl(segment, IPC_RMID, None)


def _segment_id(postmaster_pid_file: Path, dead_pid: int) -> int | None:
    try:
        lines = postmaster_pid_file.read_text(errors="replace").splitlines()
        return int(lines[_SEGMENT_LINE].split()[1]) if int(lines[0]) == dead_pid else None
    except (OSError, IndexError, ValueError):
        return None


StopMode = Literal["smart", "fast", "immediate"]
NAME = "keepstream"  # of the superuser and of the database
INITDB_TIMEOUT_S = 60.0
START_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class EmbeddedPostgres(EmbeddedService):
    """A PostgreSQL server without Docker. `settings` are passed as `-c name=value`; `bin_dir` replaces the wheel's.

    fsync stays on. Started by root, the server runs as an existing unprivileged user.
    """

    kind = "postgres"
    part = PART
    hint = POSTGRES_HINT

    def __init__(
        self,
        *,
        data_dir: Path | None = None,
        port: int = 0,
        bin_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_dir, port)
        self._installed = find_binaries(bin_dir)
        self._account = unprivileged_account()
        self._settings = dict(settings or {})

    @property
    def url(self) -> str:
        """URL with the password, once the server was started."""
        return self._url(NAME)

    @property
    def version(self) -> str:
        """Version of the running server, e.g. 18.6."""
        with psycopg.connect(self.url, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            return str(connection.execute("SHOW server_version").fetchall()[0][0])

    def stop(self, *, keep_data: bool = False, mode: StopMode = "fast") -> None:
        """Stop in a mode of `pg_ctl`: `smart` waits for clients, `fast` ends sessions, `immediate` needs recovery."""
        if self._process is not None:
            self._process.stop(timeout_s=self.stop_timeout_s, signum=_SIGNALS[mode])
        super().stop(keep_data=keep_data)

    def _launch(self, home: Path) -> None:
        self._require_reachable(home)
        binaries = runnable_by(self._account, self._installed, home)
        data = home / "pgdata"
        if not (data / "PG_VERSION").is_file():
            self._initdb(binaries, home, data)
        self._process = ChildProcess(self._program(home, binaries, "postgres", *self._server_args(data)))
        self._process.wait_ready(self._answers, timeout_s=START_TIMEOUT_S)
        self._create_database()

    def _stopped(self, process: ChildProcess) -> None:
        remove_orphaned_segment(self.home() / "pgdata" / "postmaster.pid", process.pid)

    def _scratch_root(self) -> Path:
        return scratch_root(self._account)

    def _require_reachable(self, home: Path) -> None:
        if self._account is not None and not reachable(home):
            reason = f"user {self._account.name}, which runs it instead of root, cannot reach {home}"
            raise EmbeddedUnavailableError(PART, reason, f"choose another data folder, or {POSTGRES_HINT}")

    def _initdb(self, binaries: Binaries, home: Path, data: Path) -> None:
        password_file = home / "password"
        _write_private(password_file, secrets.token_urlsafe(24))
        data.mkdir(mode=0o700, exist_ok=True)
        if self._account is not None:
            os.chown(data, self._account.uid, self._account.gid)
            os.chown(password_file, self._account.uid, self._account.gid)
        args = (f"--pgdata={data}", f"--username={NAME}", f"--pwfile={password_file}", *_INITDB_ARGS)
        run_to_end(self._program(home, binaries, "initdb", *args), timeout_s=INITDB_TIMEOUT_S)

    def _server_args(self, data: Path) -> list[str]:
        placed = {"listen_addresses": LOOPBACK, "port": str(self.port), **_SERVER_SETTINGS, **self._settings}
        return ["-D", str(data), *(part for item in placed.items() for part in ("-c", "=".join(item)))]

    def _program(self, home: Path, binaries: Binaries, name: str, *args: str) -> Program:
        # SIGKILL would leave backends and shared memory; at SIGQUIT the server cleans up.
        return Program(
            PART,
            (binaries.program(name), *args),
            home / f"{self.kind}.log",
            POSTGRES_HINT,
            account=self._account,
            death_signal=signal.SIGQUIT,
            env=_server_env(),
        )

    def _url(self, database: str) -> str:
        password = (self.home() / "password").read_text(encoding="utf-8")
        return f"postgresql://{NAME}:{password}@{LOOPBACK}:{self.port}/{database}"

    def _answers(self) -> bool:
        try:
            if listens(self.port):
                psycopg.connect(self._url("postgres"), connect_timeout=CONNECT_TIMEOUT_S).close()
                return True
        except psycopg.OperationalError:
            pass  # "the database system is starting up"
        return False

    def _create_database(self) -> None:
        url = self._url("postgres")
        with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (NAME,)).fetchall()
            if not known:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(NAME)))


_INITDB_ARGS = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions", "--no-sync")
_SERVER_SETTINGS = {
    "unix_socket_directories": "",
    # The default leaves files in /dev/shm after SIGKILL; these are in the data folder.
    "dynamic_shared_memory_type": "mmap",
}


def _server_env() -> dict[str, str]:
    # PGDATA, PGPORT and the like mean another server of the user.
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
