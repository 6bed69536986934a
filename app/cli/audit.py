"""``keepstream audit``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from keepstream.app.cli.each_topic import EachTopic, column_of
from keepstream.app.cli.options import time_option
from keepstream.app.cli.output import json_option, notify, print_json, progress_bar
from keepstream.app.cli.topic_option import SEPARATE_TOPICS, only_topic_option, prefix_of
from keepstream.app.cli.types import OFFSET, PARTITION
from keepstream.app.errors import REFUSED, USAGE, KeepstreamError
from keepstream.schemas.audit import Check, Discrepancy, DiscrepancyKind

if TYPE_CHECKING:
    import psycopg

    from keepstream.app.config.kafka import KafkaSettings
    from keepstream.app.connect.services import Services
    from keepstream.app.status.audit import AuditScope, DeepAudit
    from keepstream.sinks.kafka.admin import KafkaAdmin

_MEANINGS = {
    DiscrepancyKind.MISSING: "neither stored nor dead-lettered",
    DiscrepancyKind.DEAD_LETTER_LOST: "counted as dead-lettered, but not in the dead letter topic",
    DiscrepancyKind.OUTDATED: "only an older version of the event is stored",
    DiscrepancyKind.BOTH: "stored, and dead-lettered as well",
    DiscrepancyKind.UNCOUNTED: "in the dead letter topic, but not counted",
}


def check_row(check: Check) -> dict[str, object]:
    return asdict(check) | {"holds": check.holds}


def print_checks(checks: Sequence[Check], of: str = "") -> None:
    """Print a line per claim, and one for each partition where it does not hold. ``of`` begins a line: its topic."""
    for claim in dict.fromkeys(check.claim for check in checks):
        same = [check for check in checks if check.claim == claim]
        if all(check.holds for check in same):
            click.echo(f"  ok   {of}{claim}: {sum(c.left for c in same):,} = {sum(c.right for c in same):,}")
        for check in same:
            if not check.holds:
                partition = f"{check.topic}-{check.partition}: " if check.topic else of
                click.echo(f"  OFF  {partition}{claim}: {check.left:,} is not {check.right:,}")


def print_discrepancy(discrepancy: Discrepancy, *, as_json: bool) -> None:
    if as_json:
        print_json({"kind": "discrepancy", "fault": discrepancy.kind, "topic": discrepancy.topic,
                    "partition": discrepancy.partition, "offset": discrepancy.offset,
                    "event_id": discrepancy.event_id})  # fmt: skip
        return
    named = f" ({discrepancy.event_id})" if discrepancy.event_id else ""
    record_id = f"{discrepancy.topic}-{discrepancy.partition}-{discrepancy.offset}"
    click.echo(f"  OFF  {record_id}{named}: {_MEANINGS[discrepancy.kind]}")


def print_summary(
    deep: DeepAudit, found: int, duration_s: float, *, topic: str | None, complete: bool, as_json: bool
) -> None:
    """Print how much was read; ``complete`` is False when the audit stopped at the first discrepancy."""
    of = prefix_of(topic)
    for window in deep.windows:
        if window.rewound:
            notify(
                f"{deep.topic}-{window.partition} was re-created or truncated: older rows and dead letters have the "
                "same offsets, so this partition is checked in part only"
            )
    if deep.pruned_before:
        notify(f"{of}rows were pruned: events older than {deep.pruned_before:%Y-%m-%dT%H:%M:%SZ} are not checked")
    if as_json:
        print_json({
            "kind": "summary", **column_of(topic), "records_read": deep.records, "letters_read": deep.dead_letters,
            "differences": found, "complete": complete, "duration_s": round(duration_s, 3),
        })  # fmt: skip
        return
    if complete:
        sign = "OFF" if found else "ok "
        click.echo(
            f"  {sign}  {of}records neither stored nor dead-lettered, or both: {found:,} of {deep.records:,} read"
        )
    else:
        click.echo(f"       {of}stopped at the first discrepancy; --all names every one")
    notify(f"{of}{deep.records:,} records and {deep.dead_letters:,} dead letters read in {duration_s:.1f} s")


@click.command(epilog="Example: keepstream audit --deep --since 24h || page-somebody")
@click.option("--deep", is_flag=True, help="Read the topic and the dead letter topic again, and name each record that "
              "is neither stored nor dead-lettered, or both.")  # fmt: skip
@time_option("--since", help="Deep: records since TIME (2h, 7d or RFC 3339), by Kafka's timestamps.")
@click.option("--from-offset", type=OFFSET, metavar="OFFSET", help="Deep: from this offset, inclusive.")
@click.option("--to-offset", type=OFFSET, metavar="OFFSET", help="Deep: up to this offset, exclusive.")
@click.option("--partition", "partitions", multiple=True, type=PARTITION, metavar="NUMBER",
              help="Deep: only this partition. Repeatable.")  # fmt: skip
@click.option("--all", "every_one", is_flag=True, help="Deep: name every discrepancy, not only the first.")
@only_topic_option
@json_option
def audit(*, deep: bool, every_one: bool, as_json: bool, **scope_options: Any) -> None:  # noqa: ANN401 - fields of AuditScope
    """Check that each record is stored or dead-lettered, and counted once. Writes nothing; workers may run.

    The quick form compares offsets, counters, rows and dead letters in PostgreSQL, in one query. The deep form reads
    both topics again and compares their records with PostgreSQL. Exit 1 on a discrepancy, and where two topics share
    the tables.
    """
    if not deep and (every_one or any(value not in (None, ()) for value in scope_options.values())):
        raise KeepstreamError("bad_usage", "--since, --from-offset, --to-offset, --partition and --all need --deep",
                           "`keepstream audit --help`", USAGE)  # fmt: skip
    topics = EachTopic()
    _check_options(scope_options, several=topics.several)
    for topic, own in topics:
        with topics.errors_of(topic):
            _audit(own, topic, scope_options if deep else None, every_one=every_one, as_json=as_json)
    topics.end()


_OF_ONE_TOPIC = {"from_offset": "--from-offset", "to_offset": "--to-offset", "partitions": "--partition"}


def _check_options(scope_options: Mapping[str, object], *, several: bool) -> None:
    """Raise KeepstreamError (2) for an offset or a partition where there are several topics."""
    for name, option in _OF_ONE_TOPIC.items():
        if several and scope_options[name] not in (None, ()):
            message = f"{option}: a partition or an offset is one topic's, and the settings name several"
            raise KeepstreamError("bad_usage", message, "choose with --topic", USAGE)


def _audit(
    services: Services, topic: str | None, scope_options: dict[str, Any] | None, *, every_one: bool, as_json: bool
) -> None:  # fmt: skip
    """Audit a topic, deeply with ``scope_options``. Raises KeepstreamError (1) on a discrepancy."""
    from keepstream.app.status.audit import quick_audit

    with services.postgres() as connection:
        checks = quick_audit(connection)
        _print_quick(checks, topic, as_json=as_json)
        holds = all(check.holds for check in checks)
        if scope_options is not None:
            holds = _deep(services, connection, topic, scope_options, every_one=every_one, as_json=as_json) and holds
    shared = _shared_tables(checks)
    if shared and (services.settings.postgres.allow_other_topics or not holds):
        notify(f"{prefix_of(topic)}{shared}")
    if not holds:
        raise KeepstreamError(
            "promise_broken",
            "the accounts do not balance: a record may be lost or counted twice",
            'docs/architecture.md, "The audit", explains each claim',
        )
    if shared and not services.settings.postgres.allow_other_topics:
        raise KeepstreamError("shared_tables", shared, SEPARATE_TOPICS)


def _print_quick(checks: Sequence[Check], topic: str | None, *, as_json: bool) -> None:
    if as_json:
        for check in checks:
            print_json({"kind": "check"} | check_row(check) | ({} if check.topic else column_of(topic)))
    else:
        print_checks(checks, prefix_of(topic))


def _shared_tables(checks: Sequence[Check]) -> str:
    topics = sorted({check.topic for check in checks if check.topic})
    if len(topics) < 2:  # noqa: PLR2004 - one is as it should be
        return ""
    named = ", ".join(topics)
    return (
        f"these tables contain the events of {named}: the same event_id in two topics is one event, and no check "
        "detects it"
    )


def _deep(
    services: Services, connection: psycopg.Connection[tuple[object, ...]], topic: str | None,
    scope_options: dict[str, Any], *, every_one: bool, as_json: bool,
) -> bool:  # fmt: skip
    from keepstream.app.status.audit import AuditScope, DeepAudit

    kafka, client, scope = services.settings.kafka, services.admin(), AuditScope(**scope_options)
    started, found = time.monotonic(), 0
    with progress_bar(f"{prefix_of(topic)}reading the settled offsets") as update, _errors(services):

        def progress(what: str, done: int, total: int) -> None:
            if update:
                update(description=f"{prefix_of(topic)}reading {what}", completed=done, total=total)

        _check_topics(client, kafka, scope)
        _check_topic_id(kafka.topic, client, connection)
        deep = DeepAudit(connection, client, kafka.topic, kafka.dlq_topic, scope, services.validator, progress)
        for discrepancy in deep.run():
            found += 1
            print_discrepancy(discrepancy, as_json=as_json)
            if not every_one:
                break
    duration_s, complete = time.monotonic() - started, every_one or not found
    print_summary(deep, found, duration_s, topic=topic, complete=complete, as_json=as_json)
    return found == 0


def _check_topics(client: KafkaAdmin, kafka: KafkaSettings, scope: AuditScope) -> None:
    client.partitions(kafka.dlq_topic)
    known = client.partitions(kafka.topic)
    for partition in scope.partitions:
        if partition not in known:
            message = f"--partition: {kafka.topic} has no partition {partition}"
            raise KeepstreamError("bad_usage", message, exit_code=USAGE)


def _check_topic_id(topic: str, kafka: KafkaAdmin, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Raise KeepstreamError when the topic is not the one whose records were settled, but has its name."""
    from keepstream.sinks.postgres.audit import topic_ids

    topic_id, stored = kafka.topic_ids([topic]).get(topic), topic_ids(connection, topic)
    former = [number for found, numbers in stored.items() if topic_id not in (None, found) for number in numbers]
    if former:
        raise KeepstreamError(
            "topic_recreated",
            f"{topic} was re-created, and partitions {', '.join(map(str, sorted(former)))} stand in the former one",
            "restart the workers: they read it from its start",
        )


@contextmanager
def _errors(services: Services) -> Iterator[None]:
    from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction

    try:
        with services.kafka_errors():
            yield
    except (InsufficientPrivilege, ReadOnlySqlTransaction):
        message = "PostgreSQL refuses temporary tables, which the deep form needs"
        hint = "GRANT TEMPORARY ON DATABASE; ask the primary, not a standby"
        raise KeepstreamError("no_temporary_tables", message, hint, REFUSED) from None
