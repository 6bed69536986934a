"""Flink SQL in its SQL client with an embedded mini-cluster: Kafka table to JDBC table, parallelism 2.

JSON objects are read into STRING columns; ``stringtype=unspecified`` lets PostgreSQL take them as jsonb.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.contestant import Course
from benchmarks.java_parts import classpath
from keepstream.app.embedded.java import java, java_env

MAIN_CLASS = "org.apache.flink.table.client.SqlClient"
OPENED = ("java.lang", "java.lang.invoke", "java.lang.reflect", "java.math", "java.net", "java.io", "java.nio",
          "java.text", "java.time", "java.util", "java.util.concurrent", "java.util.concurrent.atomic",
          "java.util.concurrent.locks", "sun.nio.ch")  # fmt: skip
JVM = ("-Xmx2g", "-XX:+UseG1GC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-XX:+IgnoreUnrecognizedVMOptions")
SQL = """
SET 'execution.target' = 'local';
SET 'parallelism.default' = '2';
SET 'table.dml-sync' = 'true';
SET 'execution.checkpointing.interval' = '10s';
SET 'table.exec.sink.require-on-conflict' = 'false';
SET 'table.exec.sink.upsert-materialize' = 'NONE';
CREATE TABLE source (
    `event_id` STRING, `payload` STRING, `metadata` STRING, `timestamp` STRING, `correlation_id` STRING
) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{bootstrap_servers}',
    'properties.group.id' = '{group_id}', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json'
);
CREATE TABLE target (
    `event_id` STRING, `payload` STRING, `metadata` STRING, `created_at` STRING, `correlation_id` STRING,
    PRIMARY KEY (`event_id`) NOT ENFORCED
) WITH (
    'connector' = 'jdbc', 'table-name' = 'events', 'username' = '{user}', 'password' = '{password}',
    'url' = 'jdbc:postgresql://{place}?currentSchema={group_id}&stringtype=unspecified&reWriteBatchedInserts=true',
    'sink.buffer-flush.max-rows' = '{rows}'
);
INSERT INTO target SELECT `event_id`, `payload`, `metadata`, `timestamp`, `correlation_id` FROM source;
"""


def command(rows: int) -> Callable[[Course], tuple[tuple[str, ...], dict[str, str]]]:
    """Return the command at so many rows per commit; it writes the SQL file, and raises MissingError."""

    def of_course(course: Course) -> tuple[tuple[str, ...], dict[str, str]]:
        home = course.folder / f"{course.schema}-flink"
        home.mkdir()
        (home / "config.yaml").write_text("", encoding="utf-8")
        script = home / "job.sql"
        script.write_text(_sql(course, rows), encoding="utf-8")
        argv = (str(java().path), *_jvm(home), "-cp", classpath("flink"), MAIN_CLASS, "-f", str(script))
        return argv, java_env() | {"FLINK_CONF_DIR": str(home)}

    return of_course


def _jvm(home: Path) -> list[str]:
    opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED]
    return [*JVM, *opened, f"-Djava.io.tmpdir={home}"]


def _sql(course: Course, rows: int) -> str:
    place = urlsplit(course.url)
    return SQL.format(
        rows=rows,
        topic=course.backlog.topic, bootstrap_servers=course.bootstrap_servers, group_id=course.schema,
        user=place.username, password=place.password, place=f"{place.hostname}:{place.port}{place.path}",
    )  # fmt: skip
