"""``keepstream events validate``: what the worker would make of the lines of a file, or of a topic's last records."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import click

from keepstream.app.cli.output import json_option, load_settings, notify, print_json, print_rows
from keepstream.app.cli.topic_option import one_topic
from keepstream.app.cli.types import Topic
from keepstream.app.errors import FAILED, KeepstreamError

if TYPE_CHECKING:
    from keepstream.app.config.settings import Settings
    from keepstream.app.connect.services import Services
    from keepstream.processors.validation.decoding import Decoder
    from keepstream.schemas.event import Ignored, Rejection, ValidEvent
    from keepstream.schemas.record import KafkaRecord, Record

_SAMPLE_BYTES = 64 * 1024 * 1024
_MOST_REASONS = 20


@click.command(epilog="Example: keepstream events validate --topic orders --last 10000 --suggest")
@click.argument("source", type=click.File("rb"), required=False)
@click.option("--topic", type=Topic(), help="Read this topic, where no file is given. Nothing is written or "
              "committed. Where the settings name several topics: check under the settings of this one.")  # fmt: skip
@click.option("--last", type=click.IntRange(min=1, max=1_000_000), default=10_000, show_default=True,
              help="With --topic: how many of its last records to read.")  # fmt: skip
@click.option("--suggest", is_flag=True, help="Print the preset or mapping under which most of them would pass.")
@json_option
def validate(*, source: IO[bytes] | None, topic: str | None, last: int, suggest: bool, as_json: bool) -> None:
    """Check the lines of SOURCE (a file, or - for stdin) or the records of a topic, as the worker would.

    Prints what is wrong; exit 1 when anything is. With --suggest stdout is a keepstream.toml, and the exit code is 0
    when every record would pass under it; of large records the first 64 MiB are tried.
    """
    if source is None and topic is None:
        raise click.UsageError("give SOURCE or --topic")
    settings = load_settings()
    services = _services(settings, topic, reads=source is None)
    findings = Findings(services.validator.decoder)
    check = services.validator.validate
    if source is not None:
        for record, rejection in findings.checked(_lines(source), check):
            _print_line(record, rejection, as_json=as_json)
    else:
        for _ in findings.checked(_last_records(services, topic or "", last), check):
            pass
        if findings.invalid:
            _print_reasons(findings, to_stderr=suggest and not as_json, as_json=as_json)
    accepted = None
    if suggest:
        accepted = _suggest(findings, topic, several=bool(settings.topics), as_json=as_json)
    ignored = f", {findings.ignored} ignored" if findings.ignored else ""
    notify(f"{findings.total - findings.invalid - findings.ignored} valid, {findings.invalid} invalid{ignored}")
    examined = findings.total if accepted is None else len(findings.sample)
    left = findings.invalid if accepted is None else examined - accepted
    if left:
        what = "lines" if source is not None else "records"
        verb = "are not events" if accepted is None else "would not be events under these settings either"
        message = f"{left} of {examined} {what} {verb}"
        raise KeepstreamError("invalid_events", message, exit_code=FAILED)


def _services(settings: Settings, topic: str | None, *, reads: bool) -> Services:
    """Return the servers, with the contract to check under. A topic that is read need not be one of the settings."""
    from keepstream.app.connect.services import Services

    services = Services(settings)
    if not reads or topic in settings.by_topic():
        return services.by_topic()[one_topic(settings, topic).kafka.topic]
    if settings.topics:
        notify(f"the settings name no topic {topic}: it is checked without a mapping")
    return services


@dataclass
class Findings:
    """What was checked: the counts, the reasons, and a sample of the records for a suggestion."""

    decoder: Decoder | None = None
    total: int = 0
    invalid: int = 0
    ignored: int = 0
    sample: list[Record] = field(default_factory=list)
    _sample_bytes: int = 0
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _first: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def checked(
        self, records: Iterable[KafkaRecord], check: Callable[[KafkaRecord], ValidEvent | Rejection | Ignored]
    ) -> Iterator[tuple[KafkaRecord, Rejection]]:
        """Check all records; yield those that are rejected."""
        from keepstream.schemas.event import Ignored, Rejection

        for record in records:
            self.total += 1
            verdict = check(record)
            if isinstance(verdict, Ignored):
                self.ignored += 1
                continue
            self._keep(record)
            if isinstance(verdict, Rejection):
                self._count(record, verdict)
                yield record, verdict

    def reasons(self) -> list[dict[str, Any]]:
        """Return a row for each reason, commonest first. Messages that differ in numbers only are one."""
        common = self._counts.most_common(_MOST_REASONS)
        return [{"records": count, "reason": kind[0], **self._first[kind]} for kind, count in common]

    def _keep(self, record: KafkaRecord) -> None:
        """Add the decoded record to the sample, as long as that stays small: a hook may make each a megabyte."""
        from keepstream.schemas.event import Rejection

        decoded = self.decoder.decoded(record) if self.decoder else record
        kept = record if isinstance(decoded, Rejection) else decoded
        self._sample_bytes += len(kept.value or b"")
        if self._sample_bytes < _SAMPLE_BYTES:
            self.sample.append(kept)

    def _count(self, record: KafkaRecord, rejection: Rejection) -> None:
        from keepstream.schemas.record import record_id

        self.invalid += 1
        kind = rejection.reason, re.sub(r"\d+", "N", rejection.message)
        self._counts[kind] += 1
        self._first.setdefault(kind, {"first": record_id(record), "message": rejection.message})


def _lines(source: IO[bytes]) -> Iterator[KafkaRecord]:
    from keepstream.schemas.record import KafkaRecord

    now_ms = int(time.time() * 1000)
    for number, line in enumerate(source, 1):
        yield KafkaRecord("-", 0, number, now_ms, None, line.rstrip(b"\r\n"))


def _last_records(services: Services, topic: str, count: int) -> Iterator[KafkaRecord]:
    """Read the last records of a topic, as many from each partition."""
    from keepstream.sinks.kafka.range_reader import RangeReader

    with services.kafka_errors(), RangeReader(services.admin(), topic) as reader:
        watermarks = reader.watermarks()
        share = -(-count // max(len(watermarks), 1))
        yield from reader.read({p: (max(start, end - share), end) for p, (start, end) in watermarks.items()})


def _print_line(record: KafkaRecord, rejection: Rejection, *, as_json: bool) -> None:
    if as_json:
        print_json({"line": record.offset, "reason": rejection.reason, "message": rejection.message})
    else:
        click.echo(f"line {record.offset}: {rejection.message} [{rejection.reason}]")


def _print_reasons(findings: Findings, *, to_stderr: bool, as_json: bool) -> None:
    """Print why records are rejected; beside a suggestion to stderr, so that stdout can become keepstream.toml."""
    if not to_stderr:
        print_rows(findings.reasons(), as_json=as_json)
        return
    for row in findings.reasons():
        notify(f"{row['records']} like {row['first']}: {row['message']} [{row['reason']}]")


def _suggest(findings: Findings, topic: str | None, *, several: bool, as_json: bool) -> int | None:
    """Print the settings that fit best. Return how many records of the sample pass under them, None without any."""
    from keepstream.processors.mapping.suggest import suggest, to_toml

    if not findings.invalid:
        notify("nothing to suggest: all pass")
        return None
    options, accepted = suggest(findings.sample)
    count = len(findings.sample)
    if accepted * findings.total <= (findings.total - findings.invalid) * count:
        notify("no mapping is known under which more would pass: docs/mapping.md, docs/own-events.md")
        return None
    if as_json:
        print_json({"mapping": options, "accepted": accepted, "records": count})
    else:
        click.echo(to_toml(options, topic, several=several))
    notify(f"with this in keepstream.toml {accepted} of {count} pass; read it before you use it")
    return accepted
