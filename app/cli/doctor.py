"""``keepstream doctor``: checks of everything a worker needs, each with its fix."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from keepstream.app.cli.output import json_option, load_services, print_json
from keepstream.app.errors import CYTHON_FIX, KeepstreamError
from keepstream.schemas.replay import PARKING_SUFFIX

if TYPE_CHECKING:
    import psycopg

    from keepstream.app.connect.services import Services
    from keepstream.sinks.kafka.admin import KafkaAdmin

CLOCK_SKEW_LIMIT_S = 5.0
KAFKA_TIMEOUT_S, POSTGRES_TIMEOUT_S = 2.0, 2
"""A server that does not answer in this time is reported as away: all is said within 3 s."""
_Risks = Mapping[str, tuple[Callable[[str], bool], str]]
"""A topic's settings: which values to warn of, and the fix."""
_RISKS: _Risks = {
    "unclean.leader.election.enable": (
        "true".__eq__, "set it to false: such an election loses acknowledged records and reuses their offsets"
    ),
}  # fmt: skip
_KEEPS_NOT_ALL = "-1".__ne__
_DEAD_LETTER_RISKS: _Risks = {
    **_RISKS,
    "message.timestamp.type": (
        "CreateTime".__eq__,
        "set it to LogAppendTime: Kafka may refuse dead letters of a worker whose clock is wrong",
    ),
    "cleanup.policy": (
        lambda policy: "compact" in policy,
        "set it to delete: compaction keeps the last dead letter of a key only, and refuses those without a key",
    ),
    "retention.ms": (_KEEPS_NOT_ALL, "set it to -1: Kafka deletes dead letters at this age, replayed or not"),
    "retention.bytes": (_KEEPS_NOT_ALL, "set it to -1: Kafka deletes dead letters beyond it, replayed or not"),
}


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
    """Check settings, Kafka, topics, PostgreSQL, tables, clocks and the port. Exit 1 when something fails.

    Each result is printed as it comes; a server that does not answer within 2 seconds is away.
    """
    failed = []
    for finding in examine(load_services()):
        print_json(asdict(finding)) if as_json else click.echo(_line(finding))
        if finding.state == "fail":
            failed.append(finding.check)
    if failed:
        raise KeepstreamError("unhealthy", f"failed: {', '.join(failed)}")


def _line(finding: Finding) -> str:
    fix = f" -> {finding.fix}" if finding.fix else ""
    return f"{finding.state:<5} {finding.check:<9} {finding.seen}{fix}"


def examine(services: Services) -> Iterator[Finding]:
    """Run every check, all at once; yield what each finds, in their order."""
    services.kafka.timeout_s = KAFKA_TIMEOUT_S
    checks: dict[str, Callable[[Services], Iterator[Finding]]] = {
        "settings": _settings, "faust": _faust, "kafka": _kafka, "postgres": _postgres, "port": _port,
    }  # fmt: skip
    with ThreadPoolExecutor(len(checks), thread_name_prefix="doctor") as pool:
        running = [pool.submit(_findings, name, check, services) for name, check in checks.items()]
        for one in running:
            yield from one.result()


def _findings(name: str, check: Callable[[Services], Iterator[Finding]], services: Services) -> list[Finding]:
    """Run a check; a KeepstreamError becomes a failed finding with its hint."""
    found = []
    try:
        for finding in check(services):
            found.append(finding)  # noqa: PERF402 - what was found before an error counts
    except KeepstreamError as error:
        found.append(Finding(name, "fail", error.message, error.hint))
    return found


def _settings(services: Services) -> Iterator[Finding]:
    from keepstream.app.config.contract import load_contract
    from keepstream.app.config.variables import environment, file_read, unread_variables

    load_contract(services.settings)
    yield Finding("settings", "ok", f"valid; settings file: {file_read()}")
    for sentence in unread_variables(environment()):
        yield Finding("settings", "warn", sentence, "correct its name, or unset it")


def _faust(_services: Services) -> Iterator[Finding]:
    import faust
    import faust.streams

    if faust.streams._CStreamIterator is None:  # type: ignore[attr-defined]  # noqa: SLF001
        yield Finding("faust", "fail", "the Cython extension is missing", CYTHON_FIX.format(faust.__version__))
    else:
        yield Finding("faust", "ok", f"{faust.__version__} with its Cython extension")


def _kafka(services: Services) -> Iterator[Finding]:
    from keepstream.app.connect.diagnose import SEE_ADVERTISED

    admin, kafka = services.admin(), services.settings.kafka
    with services.kafka_errors():
        silent, brokers = services.silent_brokers(), admin.brokers()
        yield from (Finding("kafka", "fail", broker, SEE_ADVERTISED) for broker in silent)
        if len(silent) == len(brokers):
            return  # or each question would wait for its timeout
        yield Finding("kafka", "ok", f"{len(brokers)} brokers at {kafka.bootstrap_servers}")
        yield from _topic(admin, kafka.topic, "fail", _RISKS)
        yield from _topic(admin, kafka.dlq_topic, "fail", _DEAD_LETTER_RISKS)
        yield from _topic(admin, kafka.dlq_topic + PARKING_SUFFIX, "warn", _DEAD_LETTER_RISKS)  # a worker needs none


def _topic(admin: KafkaAdmin, topic: str, missing: str, risks: _Risks) -> Iterator[Finding]:
    from keepstream.sinks.kafka.admin import TopicMissingError

    try:
        partitions = admin.partitions(topic)
    except TopicMissingError:
        fix = "run `keepstream topics ensure`, or grant this user DESCRIBE"
        yield Finding("topic", missing, f"{topic} is missing", fix)
        return
    yield Finding("topic", "ok", f"{topic}: {len(partitions)} partitions")
    yield from _configuration(admin, topic, risks)


def _configuration(admin: KafkaAdmin, topic: str, risks: _Risks) -> Iterator[Finding]:
    from confluent_kafka import KafkaException

    # A worker may lack the right to read the configuration of a topic, and not every broker has these settings.
    with suppress(KafkaException):
        config = admin.topic_config(topic)
        for name, (is_risky, fix) in risks.items():
            if (value := config.get(name)) is not None and is_risky(value):
                yield Finding("topic", "warn", f"{topic}: {name} is {value}", fix)


def _postgres(services: Services) -> Iterator[Finding]:
    from keepstream.sinks.postgres.status import other_topics

    with services.postgres(POSTGRES_TIMEOUT_S) as connection:
        query = ("SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), extract(epoch FROM now()), "
                 "current_setting('server_encoding')")  # fmt: skip
        version, standby, now_s, encoding = connection.execute(query).fetchall()[0]
        yield _version(int(version), is_pooled=connection.pooled is not None)
        at = connection.info
        seen = f"{at.dbname} at {at.host}:{at.port}, user {at.user}, encoded in {encoding}"
        yield Finding("database", "ok", seen)
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


def _version(number: int, *, is_pooled: bool) -> Finding:
    major = number // 10_000
    if major < 14:  # noqa: PLR2004 - the oldest version that `make test-postgres` runs on
        return Finding("postgres", "fail", f"version {major}", "use PostgreSQL 14 or newer")
    return Finding("postgres", "ok", f"version {major}" + (", through a pooler" if is_pooled else ""))


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
