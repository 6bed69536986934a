"""``keepstream audit``: the promise as a command."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from keepstream.app.cli.audit_view import check_row, progress_bar, show_checks, show_difference, show_end
from keepstream.app.cli.failure import NOT_FOUND, REFUSED, UNREACHABLE, USAGE, CommandError
from keepstream.app.cli.output import json_option, load_settings, print_rows
from keepstream.app.connect.connections import admin_client, connect
from keepstream.app.dlq.selectors import moment_given

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from keepstream.app.config.settings import Settings
    from keepstream.app.status.audit import Reach


@click.command(epilog="Example: keepstream audit --deep --since 24h || page-somebody")
@click.option("--deep", is_flag=True, help="Read the topic and the dead letter topic again, and name each record that "
              "is in neither place or in both.")  # fmt: skip
@click.option("--since", metavar="TIME", help="Deep: records since TIME (2h, 7d or RFC 3339), by Kafka's timestamps.")
@click.option("--from-offset", type=click.IntRange(min=0), metavar="OFFSET", help="Deep: from this offset on.")
@click.option("--to-offset", type=click.IntRange(min=0), metavar="OFFSET", help="Deep: up to, not including, this.")
@click.option("--partition", "partitions", multiple=True, type=click.IntRange(min=0), metavar="NUMBER",
              help="Deep: only this partition. Repeatable.")  # fmt: skip
@click.option("--all", "every_one", is_flag=True, help="Deep: name every difference, not only the first.")
@json_option
def audit(*, deep: bool, every_one: bool, as_json: bool, **reach_given: Any) -> None:  # noqa: ANN401 - see _reach
    """Check that every record ended in exactly one place and was counted once. Writes nothing; workers may run.

    The quick form asks PostgreSQL whether offsets, counters, rows and dead letters agree, in one query. The deep form
    does not believe it: it reads both topics again. Exit 1 when something is off.
    """
    if not deep and (every_one or any(value not in (None, ()) for value in reach_given.values())):
        raise CommandError("bad_usage", "--since, --from-offset, --to-offset, --partition and --all need --deep",
                           "`keepstream audit --help`", USAGE)  # fmt: skip
    reach = _reach(**reach_given) if deep else None
    settings = load_settings()
    with connect(settings) as connection:
        holds = _quick(connection, as_json=as_json)
        if reach:
            holds = _deep(settings, connection, reach, every_one=every_one, as_json=as_json) and holds
    if not holds:
        raise CommandError(
            "promise_broken", "the books do not agree", 'docs/architecture.md, "The audit", explains each claim'
        )


def _quick(connection: psycopg.Connection[tuple[object, ...]], *, as_json: bool) -> bool:
    from keepstream.app.status.audit import quick

    checks = quick(connection)
    if as_json:
        print_rows([check_row(check) for check in checks], as_json=True)
    else:
        show_checks(checks)
    return all(check.holds for check in checks)


def _deep(
    settings: Settings, connection: psycopg.Connection[tuple[object, ...]], reach: Reach, *, every_one: bool,
    as_json: bool,
) -> bool:  # fmt: skip
    from keepstream.app.connect.client_config import librdkafka_settings
    from keepstream.app.status.audit import DeepAudit

    _check_topics(settings, reach)
    client = {**librdkafka_settings(settings.kafka), "log_level": 0}
    started, found = time.monotonic(), 0
    with progress_bar() as progress, _failures():
        deep = DeepAudit(connection, client, settings.kafka.topic, settings.kafka.dlq_topic, reach, progress)
        for difference in deep.run():
            found += 1
            show_difference(difference, as_json=as_json)
            if not every_one:
                break
    show_end(deep, found, time.monotonic() - started, complete=every_one or not found, as_json=as_json)
    return found == 0


def _reach(since: str | None, from_offset: int | None, to_offset: int | None, partitions: tuple[int, ...]) -> Reach:
    from keepstream.app.status.audit import Reach

    return Reach(moment_given("--since", since) if since else None, from_offset, to_offset, partitions)


def _check_topics(settings: Settings, reach: Reach) -> None:
    topics = admin_client(settings.kafka).list_topics(timeout=10).topics
    for topic in (settings.kafka.topic, settings.kafka.dlq_topic):
        if topic not in topics or topics[topic].error is not None:
            raise CommandError("topic_missing", f"there is no topic {topic!r}", "run `keepstream topics ensure`",
                               NOT_FOUND)  # fmt: skip
    for partition in reach.partitions:
        if partition not in topics[settings.kafka.topic].partitions:
            raise CommandError("bad_usage", f"--partition: {settings.kafka.topic} has no partition {partition}",
                               exit_code=USAGE)  # fmt: skip


@contextmanager
def _failures() -> Iterator[None]:
    from confluent_kafka import KafkaException
    from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction

    try:
        yield
    except KafkaException as error:
        why = error.args[0].str()
        raise CommandError("kafka_failed", f"Kafka failed: {why}", "see `keepstream doctor`", UNREACHABLE) from None
    except (InsufficientPrivilege, ReadOnlySqlTransaction):
        raise CommandError(
            "no_temporary_tables", "PostgreSQL refuses temporary tables, which the deep form needs",
            "GRANT TEMPORARY ON DATABASE; ask the primary, not a standby", REFUSED,
        ) from None  # fmt: skip
