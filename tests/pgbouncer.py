"""PgBouncer before a PostgreSQL server, where it is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from keepstream.app.embedded import EmbeddedUnavailableError
from keepstream.app.embedded.postgres_binaries import unprivileged_account
from keepstream.app.embedded.process import ChildProcess, Program
from keepstream.app.embedded.service import LOOPBACK, EmbeddedService

MODES = ("session", "transaction")
_HINT = "install PgBouncer (Debian's package pgbouncer)"


class PgBouncer(EmbeddedService):
    """A pooler that trusts everybody on loopback, and logs in to the server of ``url`` as its user."""

    kind = "pgbouncer"
    part = "PgBouncer"
    hint = _HINT

    def __init__(self, url: str, mode: str, **settings: str) -> None:
        super().__init__(None, 0)
        self._server, self._settings = conninfo_to_dict(url), {"pool_mode": mode, **settings}

    @property
    def url(self) -> str:
        """The URL of the same database through the pooler."""
        return f"postgresql://{self._server['user']}@{LOOPBACK}:{self.port}/{self._server['dbname']}"

    def _launch(self, home: Path) -> None:
        program = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if program is None:
            raise EmbeddedUnavailableError(self.part, "there is no program pgbouncer", _HINT)
        account, config = unprivileged_account(), home / "pgbouncer.ini"
        config.write_text(self._config(), encoding="utf-8")
        config.chmod(0o600)
        if account is not None:
            os.chown(config, account.pw_uid, account.pw_gid)
        self._process = ChildProcess(Program(self.part, (program, str(config)), self.log_path, _HINT, account))
        self._process.wait_ready(self._answers, timeout_s=20)

    def _config(self) -> str:
        server = {name: self._server[name] for name in ("host", "port", "user", "password")}
        target = " ".join(f"{name}={value}" for name, value in server.items())
        settings = {
            "listen_addr": LOOPBACK, "listen_port": self.port, "auth_type": "any", "unix_socket_dir": "",
            "max_client_conn": 200, "default_pool_size": 20, "server_login_retry": 1, **self._settings,
        }  # fmt: skip
        lines = [f"{name} = {value}" for name, value in settings.items()]
        return "\n".join(["[databases]", f"{self._server['dbname']} = {target}", "[pgbouncer]", *lines, ""])

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url, connect_timeout=2).close()
            return True
        return False

    def _stopped(self, process: ChildProcess) -> None:
        """Leave nothing to be cleaned up."""


@contextmanager
def pgbouncer(url: str, mode: str, **settings: str) -> Iterator[PgBouncer]:
    """Start a pooler before the server of ``url``; skip the test with the reason where there is none."""
    pooler = PgBouncer(url, mode, **settings)
    try:
        pooler.start()
    except EmbeddedUnavailableError as missing:
        pytest.skip(str(missing))
    try:
        yield pooler
    finally:
        pooler.stop()
