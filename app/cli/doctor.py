"""``keepstream doctor``: checks of everything a worker needs, each with its fix."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import click

from keepstream.app.cli.doctor_postgres import by_database, check_database
from keepstream.app.cli.finding import Finding, run_check
from keepstream.app.cli.output import json_option, load_services_of_topics, print_json
from keepstream.app.cli.topic_option import only_topic_option
from keepstream.app.errors import CYTHON_FIX, KeepstreamError
from keepstream.schemas.replay import PARKING_SUFFIX

if TYPE_CHECKING:
    from keepstream.app.connect.services import Services
    from keepstream.sinks.kafka.admin import KafkaAdmin

KAFKA_TIMEOUT_S = 2.0
"""A cluster that does not answer in this time is reported as away: all is said within 3 s."""
Check = Callable[["Services"], Iterator[Finding]]
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


@click.command(epilog="Example: keepstream doctor --json | jq 'select(.state != \"ok\")'")
@only_topic_option
@json_option
def doctor(*, as_json: bool) -> None:
    """Check settings, Kafka, topics, PostgreSQL, tables, clocks and the port. Exit 1 when something fails.

    Each result is printed as it comes; a server that does not answer within 2 seconds is away.
    """
    failed = []
    for finding in examine(load_services_of_topics()):
        print_json(finding.row()) if as_json else click.echo(finding.line())
        if finding.state == "fail":
            failed.append(f"{finding.check} of {finding.topic}" if finding.topic else finding.check)
    if failed:
        raise KeepstreamError("unhealthy", f"failed: {', '.join(failed)}")


def examine(services: Services) -> Iterator[Finding]:
    """Run every check, all at once; yield what each finds, in their order."""
    services.kafka.timeout_s = KAFKA_TIMEOUT_S
    databases = by_database(services)
    checks: list[tuple[str, Check, str | None]] = [
        ("settings", _settings, None), ("faust", _faust, None), ("kafka", _kafka, None),
        *(("postgres", partial(check_database, topics), names) for names, topics in databases.items()),
        ("port", _port, None),
    ]  # fmt: skip
    with ThreadPoolExecutor(len(checks), thread_name_prefix="doctor") as pool:
        running = [pool.submit(run_check, name, partial(check, services), topic) for name, check, topic in checks]
        for one in running:
            yield from one.result()


def _settings(services: Services) -> Iterator[Finding]:
    from keepstream.app.config.contract import load_contracts
    from keepstream.app.config.variables import environment, file_read, unread_variables

    load_contracts(services.settings)
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

    admin, settings = services.admin(), services.settings
    with services.kafka_errors():
        silent, brokers = services.silent_brokers(), admin.brokers()
        yield from (Finding("kafka", "fail", broker, SEE_ADVERTISED) for broker in silent)
        if len(silent) == len(brokers):
            return  # or each question would wait for its timeout
        yield Finding("kafka", "ok", f"{len(brokers)} brokers at {settings.kafka.bootstrap_servers}")
        for kafka in (view.kafka for view in settings.by_topic().values()):
            yield from _topic(admin, kafka.topic, "fail", _RISKS)
            yield from _topic(admin, kafka.dlq_topic, "fail", _DEAD_LETTER_RISKS)
            parked = kafka.dlq_topic + PARKING_SUFFIX
            yield from _topic(admin, parked, "warn", _DEAD_LETTER_RISKS)  # a worker needs none


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
