"""A reader's shell: a clean folder, an empty database, `keepstream` on PATH, and what an export says is kept."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka.admin import AdminClient

from tests.real import Servers, eventually

TOPICS = [f"{name}{end}" for name in ("orders", "event-dlq", "orders-dlt") for end in ("", "-parked")]
STAYS = re.compile(r"keepstream (worker|web(?! --hash)|demo --keep)")
"""These go on until they are asked to stop."""


@dataclass
class ShellSession:
    """Runs lines one after another; those that stay go on in another terminal."""

    folder: Path
    variables: dict[str, str]
    staying: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, line: str) -> tuple[int, str]:
        """Run one line; return its exit code and what it wrote."""
        if STAYS.match(line):
            self._start(line)
            return 0, ""
        kept = self.folder.parent / "variables"
        done = subprocess.run(
            ["/bin/sh", "-c", f"{line}\ncode=$?; env -0 > '{kept}'; exit $code"], env=self.variables, cwd=self.folder,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        pairs = (pair.partition("=") for pair in kept.read_text(encoding="utf-8").split("\0") if pair)
        self.variables = {name: value for name, _, value in pairs if name not in ("_", "PWD", "SHLVL", "OLDPWD")}
        return done.returncode, done.stdout + done.stderr

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.variables["KEEPSTREAM_POSTGRES__URL"]) as connection:
            return connection.execute(query.encode()).fetchall()

    def _start(self, line: str) -> None:
        """Start what stays, and wait until it has read what is there: a reader would not type faster."""
        log = self.folder.parent / "stays.log"
        with log.open("wb") as out:
            argv = ["/bin/sh", "-c", f"exec {line}"]
            self.staying.append(subprocess.Popen(argv, env=self.variables, cwd=self.folder, stdout=out, stderr=out))
        says = "go on until Ctrl-C" if "demo" in line else r"reading \d+ partitions"
        eventually(lambda: re.search(says, log.read_text(errors="replace")), 90, says)
        if "worker" in line:
            eventually(self._has_read_all, 60, "no lag")

    def _has_read_all(self) -> bool:
        code, text = self.run("keepstream lag --json")
        return code == 0 and all(json.loads(row)["lag"] == 0 for row in text.splitlines())

    def stop(self) -> None:
        for process in self.staying:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) in (0, 130)


@contextmanager
def shell_session(servers: Servers, folder: Path, shim: Path) -> Iterator[ShellSession]:
    """Open a session whose database is new and whose topics do not exist."""
    database = f"reader_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(servers.postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}".encode())
    url = re.sub(r"/\w+$", f"/{database}", servers.postgres_url)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPSTREAM_", "PG"))}
    variables |= {
        "PATH": f"{shim}:{os.environ['PATH']}", "HOME": str(folder.parent),
        "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": servers.bootstrap_servers, "KEEPSTREAM_POSTGRES__URL": url,
        "KEEPSTREAM_KAFKA__GROUP_ID": database, "KEEPSTREAM_HTTP__PORT": "0", "PYTHONUNBUFFERED": "1", "EVENTS": "500",
    }  # fmt: skip
    session = ShellSession(folder, variables)
    delete_topics(servers)
    try:
        yield session
        session.stop()
    finally:
        for process in session.staying:
            process.kill()
        delete_topics(servers)


def delete_topics(servers: Servers) -> None:
    admin = AdminClient({"bootstrap.servers": servers.bootstrap_servers})
    present = [name for name in TOPICS if name in admin.list_topics(timeout=30).topics]
    for deleted in (admin.delete_topics(present) if present else {}).values():
        deleted.result(30)
    eventually(lambda: not set(TOPICS) & set(admin.list_topics(timeout=30).topics), 30, "the topics are gone")
