"""``keepstream events validate``: what the worker would make of the lines of a file, or of a topic's last records."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

import click

from keepstream.app.cli.output import json_option, load_services, notify, print_json, print_rows
from keepstream.app.cli.types import Topic
from keepstream.app.errors import FAILED, KeepstreamError

if TYPE_CHECKING:
    from keepstream.app.connect.services import Services
    from keepstream.schemas.event import Rejection
    from keepstream.schemas.record import KafkaRecord

_MOST_REASONS = 20


@click.command(epilog="Example: keepstream events validate --topic orders --last 10000 --suggest")
@click.argument("source", type=click.File("rb"), required=False)
@click.option("--topic", type=Topic(), help="Read this topic instead of a file. Nothing is written or committed.")
@click.option("--last", type=click.IntRange(min=1, max=1_000_000), default=10_000, show_default=True,
              help="With --topic: how many of its last records to read.")  # fmt: skip
@click.option("--suggest", is_flag=True, help="Print the preset or mapping under which most of them would pass.")
@json_option
def validate(*, source: IO[bytes] | None, topic: str | None, last: int, suggest: bool, as_json: bool) -> None:
    """Check the lines of SOURCE (a file, or - for stdin) or the records of a topic, as the worker would.

    Prints what is wrong; exit 1 when anything is.
    """
    if (source is None) == (topic is None):
        raise click.UsageError("give either SOURCE or --topic")
    services = load_services()
    if source is not None:
        records = list(_lines(source))
        found = _rejections(services, records)
        _print_lines(found, as_json=as_json)
    else:
        records = _last_records(services, topic or "", last)
        found = _rejections(services, records)
        _print_reasons(found, len(records), as_json=as_json)
    if suggest:
        _suggest(records, len(found), as_json=as_json)
    what = "lines" if source is not None else "records"
    notify(f"{len(records) - len(found)} valid, {len(found)} invalid")
    if found:
        message = f"{len(found)} of {len(records)} {what} are not events"
        raise KeepstreamError("invalid_events", message, exit_code=FAILED)


def _rejections(services: Services, records: Sequence[KafkaRecord]) -> list[tuple[KafkaRecord, Rejection]]:
    from keepstream.schemas.event import Rejection

    check = services.validator.validate
    verdicts = ((record, check(record)) for record in records)
    return [(record, verdict) for record, verdict in verdicts if isinstance(verdict, Rejection)]


def _lines(source: IO[bytes]) -> Iterator[KafkaRecord]:
    from keepstream.schemas.record import KafkaRecord

    now_ms = int(time.time() * 1000)
    for number, line in enumerate(source, 1):
        yield KafkaRecord("-", 0, number, now_ms, None, line.rstrip(b"\r\n"))


def _last_records(services: Services, topic: str, count: int) -> list[KafkaRecord]:
    """Read the last records of a topic, as many from each partition."""
    from keepstream.app.connect.services import kafka_errors
    from keepstream.sinks.kafka.range_reader import RangeReader

    with kafka_errors(), RangeReader(services.admin(), topic) as reader:
        watermarks = reader.watermarks()
        share = -(-count // max(len(watermarks), 1))
        return list(reader.read({p: (max(start, end - share), end) for p, (start, end) in watermarks.items()}))


def _print_lines(found: Sequence[tuple[KafkaRecord, Rejection]], *, as_json: bool) -> None:
    for record, rejection in found:
        row = {"line": record.offset, "reason": rejection.reason, "message": rejection.message}
        if as_json:
            print_json(row)
        else:
            click.echo(f"line {record.offset}: {rejection.message} [{rejection.reason}]")


def _print_reasons(found: Sequence[tuple[KafkaRecord, Rejection]], total: int, *, as_json: bool) -> None:
    """Print a row for each reason; messages that differ in numbers only are one."""
    from keepstream.schemas.record import record_id

    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for record, rejection in found:
        kind = rejection.reason, re.sub(r"\d+", "N", rejection.message)
        counts[kind] += 1
        first.setdefault(kind, {"first": record_id(record), "message": rejection.message})
    rows = [{"records": count, "reason": kind[0], **first[kind]} for kind, count in counts.most_common(_MOST_REASONS)]
    if not total:
        notify("the topic has no records")
    if rows:
        print_rows(rows, as_json=as_json)


def _suggest(records: Sequence[KafkaRecord], rejected: int, *, as_json: bool) -> None:
    from keepstream.processors.mapping.suggest import suggest, to_toml

    if not rejected:
        notify("nothing to suggest: all pass")
        return
    options, accepted = suggest(records)
    if accepted <= len(records) - rejected:
        notify("no mapping is known under which more would pass: docs/mapping.md, docs/own-events.md")
        return
    if as_json:
        print_json({"mapping": options, "accepted": accepted, "records": len(records)})
    else:
        click.echo(to_toml(options))
    notify(f"with this in keepstream.toml {accepted} of {len(records)} pass; look at it before you use it")
