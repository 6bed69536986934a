"""Kafka Connect, standalone, with Debezium's JDBC sink: upsert on event_id, four tasks.

The sink needs a schema and cannot store nested objects: the converter supplies the schema (``schema.content``), and the
events come with payload and metadata as JSON strings (`events.Backlog.flat`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.contestant import Course
from benchmarks.java_parts import DEBEZIUM_JDBC, classpath, plugin_path
from keepstream.app.embedded.java import java, java_env
from keepstream.app.embedded.kafka import render
from keepstream.app.embedded.service import LOOPBACK, free_port

MAIN_CLASS = "org.apache.kafka.connect.cli.ConnectStandalone"
JVM = ("-Xms256m", "-Xmx2g", "-XX:+UseG1GC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
"""The heap is that of Kafka's own connect-standalone script."""
TASKS = 4
JSON_COLUMN, TIME_COLUMN = "io.debezium.data.Json", "io.debezium.time.ZonedTimestamp"
FIELDS = {"event_id": None, "payload": JSON_COLUMN, "metadata": JSON_COLUMN, "created_at": TIME_COLUMN,
          "correlation_id": None}  # fmt: skip


def command(rows: int) -> Callable[[Course], tuple[tuple[str, ...], dict[str, str]]]:
    """Return the command at so many rows per commit; it writes both property files, and raises MissingError."""

    def of_course(course: Course) -> tuple[tuple[str, ...], dict[str, str]]:
        home = course.folder / f"{course.schema}-connect"
        home.mkdir()
        worker, connector = home / "worker.properties", home / "connector.properties"
        worker.write_text(render(worker_properties(course, home)), encoding="utf-8")
        connector.write_text(render(connector_properties(course, rows)), encoding="utf-8")
        argv = (str(java().path), *JVM, "-cp", classpath("connect"), MAIN_CLASS, str(worker), str(connector))
        return argv, java_env()

    return of_course


def worker_properties(course: Course, home: Path) -> dict[str, str]:
    return {
        "bootstrap.servers": course.bootstrap_servers, "plugin.path": str(plugin_path(DEBEZIUM_JDBC)),
        "offset.storage.file.filename": str(home / "offsets"), "listeners": f"http://{LOOPBACK}:{free_port()}",
        "key.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true", "value.converter.schema.content": schema(),
    }  # fmt: skip


def schema() -> str:
    fields = [
        {"field": field, "type": "string", "optional": field != "event_id", **({"name": name} if name else {})}
        for field, name in FIELDS.items()
    ]
    return json.dumps({"type": "struct", "optional": False, "fields": fields})


def connector_properties(course: Course, rows: int) -> dict[str, str]:
    place = urlsplit(course.url)
    options = f"reWriteBatchedInserts=true&currentSchema={course.schema}"
    return {
        "name": course.schema, "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": str(TASKS), "topics": course.backlog.topic, "collection.name.format": "events",
        "connection.url": f"jdbc:postgresql://{place.hostname}:{place.port}{place.path}?{options}",
        "connection.username": place.username or "", "connection.password": place.password or "",
        "insert.mode": "upsert", "primary.key.mode": "record_value", "primary.key.fields": "event_id",
        "schema.evolution": "none", "batch.size": str(rows),
        "consumer.override.max.poll.records": str(rows),
        "consumer.override.auto.offset.reset": "earliest",
    }  # fmt: skip
