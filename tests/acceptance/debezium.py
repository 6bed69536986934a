"""Debezium as it is: Kafka Connect's runtime, its connector for PostgreSQL, and its outbox router."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks.contestant import MissingError
from benchmarks.java_parts import DEBEZIUM_POSTGRES, classpath, plugin_path
from keepstream.app.embedded.java import java, java_env
from keepstream.app.embedded.kafka import SMALL_JVM, render
from keepstream.app.embedded.process import ChildProcess, Program
from keepstream.app.embedded.service import LOOPBACK, free_port

MAIN_CLASS = "org.apache.kafka.connect.cli.ConnectStandalone"
JSON_CONVERTER = "org.apache.kafka.connect.json.JsonConverter"
START_TIMEOUT_S = 120.0


def connector(url: str, name: str, properties: Mapping[str, str], *, schemas: bool) -> dict[str, str]:
    """Return a connector's properties. ``schemas`` is Connect's own default of its JSON converter."""
    place = urlsplit(url)
    converters = {
        f"{part}.converter{option}": value
        for part in ("key", "value")
        for option, value in {"": JSON_CONVERTER, ".schemas.enable": str(schemas).lower()}.items()
    }
    return {
        "name": name, "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1",
        "database.hostname": place.hostname or "", "database.port": str(place.port), "topic.prefix": name,
        "database.user": place.username or "", "database.password": place.password or "",
        "database.dbname": place.path.removeprefix("/"), "plugin.name": "pgoutput", "slot.name": name,
        "publication.name": name, "publication.autocreate.mode": "filtered", **converters, **properties,
    }  # fmt: skip


@dataclass
class Connect:
    """Connect's own process with its connectors."""

    process: ChildProcess
    rest_port: int
    names: list[str]

    def running(self) -> None:
        """Wait until every connector's task runs."""
        self.process.wait_ready(lambda: all(map(self._runs, self.names)), timeout_s=START_TIMEOUT_S)

    def kill_and_restart(self) -> None:
        """End it without a last word, as a crash does: it sends again what it had not noted as sent."""
        self.process.kill()
        self.process.start()
        self.running()

    def _runs(self, name: str) -> bool:
        try:
            with urllib.request.urlopen(
                f"http://{LOOPBACK}:{self.rest_port}/connectors/{name}/status", timeout=5
            ) as answer:
                tasks = json.load(answer)["tasks"]
        except OSError:
            return False
        assert "FAILED" not in str(tasks), tasks
        return bool(tasks) and all(task["state"] == "RUNNING" for task in tasks)


@contextmanager
def connect(bootstrap_servers: str, home: Path, *connectors: Mapping[str, str]) -> Iterator[Connect]:
    """Run Connect with these connectors. It notes no offset by itself. Skips the test where the jars cannot be had."""
    rest_port = free_port()
    worker = {
        "bootstrap.servers": bootstrap_servers, "listeners": f"http://{LOOPBACK}:{rest_port}",
        "offset.storage.file.filename": str(home / "offsets"), "offset.flush.interval.ms": "3600000",
        "key.converter": JSON_CONVERTER, "value.converter": JSON_CONVERTER,
    }  # fmt: skip
    try:
        jars, worker["plugin.path"] = classpath("connect"), str(plugin_path(DEBEZIUM_POSTGRES))
    except MissingError as missing:
        pytest.skip(str(missing))
    files = [home / f"{number}.properties" for number in range(len(connectors) + 1)]
    for file, properties in zip(files, [worker, *connectors], strict=True):
        file.write_text(render(properties), encoding="utf-8")
    argv = (str(java().path), *SMALL_JVM, "-cp", jars, MAIN_CLASS, *map(str, files))
    process = ChildProcess(Program("Kafka Connect", argv, home / "connect.log", "see its log", env=java_env()))
    try:
        started = Connect(process, rest_port, [properties["name"] for properties in connectors])
        started.running()
        yield started
    finally:
        process.stop()
