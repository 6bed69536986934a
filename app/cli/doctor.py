"""``keepstream doctor``: checks of everything a worker needs, each with its fix."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from keepstream.app.cli.output import json_option, load_services, print_rows
from keepstream.app.errors import KeepstreamError

if TYPE_CHECKING:
    import psycopg

    from keepstream.app.connect.services import Services
    from keepstream.sinks.kafka.admin import KafkaAdmin

CLOCK_SKEW_LIMIT_S = 5.0
_Risks = Mapping[str, tuple[str, str]]
"""A topic's settings: the value to warn of, and the fix."""
_RISKS: _Risks = {
    "unclean.leader.election.enable":
        ("true", "set it to false: such an election loses acknowledged records and reuses their offsets"),
}  # fmt: skip
_DEAD_LETTER_RISKS: _Risks = {
    **_RISKS,
    "message.timestamp.type":
        ("CreateTime", "set it to LogAppendTime: Kafka may refuse dead letters of a worker whose clock is wrong"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a check: ok, warn or fail, the observation and the fix."""

    check: str
    state: str
    seen: str
    fix: str = ""


@click.command(epilog="Example: keepstream doctor --json | jq 'select(.state != \"ok\")'")
@json_option
def doctor(*, as_json: bool) -> None:
    """Check settings, Kafka, topics, PostgreSQL, tables, clocks and the port. Exit 1 when something fails."""
    findings = list(examine(load_services()))
    print_rows([asdict(finding) for finding in findings], as_json=as_json)
    failed = [finding.check for finding in findings if finding.state == "fail"]
    if failed:
        raise KeepstreamError("unhealthy", f"failed: {', '.join(failed)}")


def examine(services: Services) -> Iterator[Finding]:
    """Run every check; a KeepstreamError becomes a failed finding with its hint."""
    checks: dict[str, Callable[[Services], Iterator[Finding]]] = {
        "settings": _settings, "faust": _faust, "kafka": _kafka, "postgres": _postgres, "port": _port,
    }  # fmt: skip
    for name, check in checks.items():
        try:
            yield from check(services)
        except KeepstreamError as error:
            yield Finding(name, "fail", error.message, error.hint)


def _settings(services: Services) -> Iterator[Finding]:
    from keepstream.app.config.contract import load_contract
    from keepstream.app.config.variables import environment, unread_variables

    load_contract(services.settings)
    yield Finding("settings", "ok", "valid")
    for sentence in unread_variables(environment()):
        yield Finding("settings", "warn", sentence, "correct its name, or unset it")


def _faust(_services: Services) -> Iterator[Finding]:
    import faust
    import faust.streams

    if faust.streams._CStreamIterator is None:  # type: ignore[attr-defined]  # noqa: SLF001
        yield Finding("faust", "fail", "the Cython extension is missing", "install a wheel of faust-streaming")
    else:
        yield Finding("faust", "ok", f"{faust.__version__} with its Cython extension")


def _kafka(services: Services) -> Iterator[Finding]:
    from keepstream.sinks.kafka.admin import TopicMissingError

    admin, kafka = services.admin(), services.settings.kafka
    yield Finding("kafka", "ok", f"{admin.broker_count()} brokers at {kafka.bootstrap_servers}")
    for topic, risks in ((kafka.topic, _RISKS), (kafka.dlq_topic, _DEAD_LETTER_RISKS)):
        try:
            partitions = admin.partitions(topic)
        except TopicMissingError:
            yield Finding("topic", "fail", f"{topic} is missing", "run `keepstream topics ensure`")
        else:
            yield Finding("topic", "ok", f"{topic}: {len(partitions)} partitions")
            yield from _configuration(admin, topic, risks)


def _configuration(admin: KafkaAdmin, topic: str, risks: _Risks) -> Iterator[Finding]:
    from confluent_kafka import KafkaException

    # A worker may lack the right to read the configuration of a topic, and not every broker has these settings.
    with suppress(KafkaException):
        config = admin.topic_config(topic)
        for name, (value, fix) in risks.items():
            if config.get(name) == value:
                yield Finding("topic", "warn", f"{topic}: {name} is {value}", fix)


def _postgres(services: Services) -> Iterator[Finding]:
    from keepstream.sinks.postgres.status import other_topics

    with services.postgres() as connection:
        query = "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), extract(epoch FROM now())"
        version, standby, now_s = connection.execute(query).fetchall()[0]
        yield _version(int(version))
        if standby:
            yield Finding("postgres", "fail", "a read-only standby", "add target_session_attrs=read-write to the URL")
        skew_s = abs(float(now_s) - time.time())
        yield Finding(
            "clock", "ok" if skew_s < CLOCK_SKEW_LIMIT_S else "warn", f"differs from PostgreSQL's by {skew_s:.1f} s",
            "" if skew_s < CLOCK_SKEW_LIMIT_S else "synchronise clocks; latencies in the metrics will be wrong",
        )  # fmt: skip
        tables = _tables(connection)
        yield tables
        if tables.state == "ok" and (others := other_topics(connection, services.settings.kafka.topic)):
            seen = f"they also contain the events of {', '.join(others)}: the same event_id in two topics is one event"
            yield Finding("tables", "warn", seen, "give each topic a schema: KEEPSTREAM_POSTGRES__SCHEMA_NAME")


def _tables(connection: psycopg.Connection[tuple[object, ...]]) -> Finding:
    from keepstream.sinks.postgres.migrate import MigrationError, pending

    try:
        missing = pending(connection)
    except MigrationError as error:
        return Finding("tables", "fail", str(error), "run the version of keepstream that made these tables")
    if missing:
        return Finding("tables", "fail", f"{len(missing)} migrations are pending", "run `keepstream db migrate`")
    return Finding("tables", "ok", "up to date")


def _version(number: int) -> Finding:
    major = number // 10_000
    if major < 15:  # noqa: PLR2004 - the oldest version the contract suite runs on
        return Finding("postgres", "fail", f"version {major}", "use PostgreSQL 15 or newer")
    return Finding("postgres", "ok", f"version {major}")


def _port(services: Services) -> Iterator[Finding]:
    http = services.settings.http
    if not http.enabled or http.port == 0:
        return
    address = f"{http.host}:{http.port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((http.host, http.port))
        except OSError:
            yield Finding("port", "warn", f"{address} is in use", "unless by a worker, set KEEPSTREAM_HTTP__PORT")
        else:
            yield Finding("port", "ok", f"{address} is free")
