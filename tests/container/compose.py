"""docker-compose.yml as its users run it."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psycopg

from keepstream.app.embedded.service import LOOPBACK, free_port
from tests.container.engine import Engine
from tests.container.images import CHECKOUT
from tests.real import Kafka

PROGRAM = CHECKOUT / ".venv/tools/bin/docker-compose"
PORTS = ("CONSOLE_PORT", "GRAFANA_PORT", "PROMETHEUS_PORT", "KAFKA_PORT", "POSTGRES_PORT")
PASSWORD = "p@ss/w#1 %"  # noqa: S105 - of a database that lives for the tests
TOKEN = "a token for the tests"  # noqa: S105


@dataclass(frozen=True)
class Compose:
    """The project; called with the words after ``docker compose``."""

    engine: Engine
    ports: dict[str, int]

    @classmethod
    def on_free_ports(cls, engine: Engine) -> Compose:
        """Choose ports, and the secrets of a user who changes them."""
        ports = {name: free_port() for name in PORTS}
        first = free_port()
        given = {name: str(port) for name, port in ports.items()} | {
            "WORKER_PORTS": f"{first}-{first + 2}",
            "POSTGRES_PASSWORD": PASSWORD,
            "CONSOLE_TOKEN": TOKEN,
        }
        return cls(replace(engine, environment=engine.environment | given), ports)

    def __call__(self, *words: str, timeout_s: float = 120, check: bool = True) -> str:
        """Run a command of compose; return what it printed. Raises AssertionError when it fails."""
        argv: list[str | Path] = [PROGRAM, "--project-directory", CHECKOUT, *words]
        try:
            return self.engine.run(*argv, timeout_s=timeout_s, check=check)
        except AssertionError as error:
            logs = self.engine.attempt(PROGRAM, "--project-directory", CHECKOUT, "logs", "--tail", "15").stdout
            raise AssertionError(f"{error}\n{logs[-6000:]}") from None

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return name -> what compose says of it, also of those that have ended."""
        lines = self("ps", "--all", "--format", "json").splitlines()
        return {row["Name"]: row for row in map(json.loads, filter(lambda line: line.startswith("{"), lines))}

    def keepstream(self, *words: str, check: bool = True) -> str:
        """Run a keepstream command in the worker's container."""
        return self("exec", "-T", "worker", "keepstream", *words, check=check)

    @property
    def kafka(self) -> Kafka:
        """The broker as a program on the host reaches it."""
        return Kafka(f"{LOOPBACK}:{self.ports['KAFKA_PORT']}")

    def row_count(self) -> int:
        """Return the rows of the table of events, as a program on the host reads them."""
        with psycopg.connect(
            host=LOOPBACK, port=self.ports["POSTGRES_PORT"], user="keepstream", password=PASSWORD, dbname="keepstream"
        ) as connection:
            row = connection.execute("SELECT count(*) FROM events").fetchone()
        return int(row[0]) if row else 0

    def get(self, port: str, path: str, **headers: str) -> str:
        """Ask a published port; return the body. Raises AssertionError for another status than 200."""
        request = urllib.request.Request(f"http://{LOOPBACK}:{self.ports[port]}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == HTTPStatus.OK
            body: str = answer.read().decode()
        return body
