"""``keepstream dlq list``, ``show`` and ``stats``."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import click

from keepstream.app.cli.options import SectionedCommand, selectors
from keepstream.app.cli.output import json_option, notify, open_dead_letter_topic, print_json, print_rows
from keepstream.app.cli.tables import print_fields
from keepstream.app.cli.topic_option import topic_option
from keepstream.app.dlq.format import format_time, one_line, pretty, text_of, to_row
from keepstream.app.dlq.selectors import DeadLetterQuery
from keepstream.app.errors import NOT_FOUND, KeepstreamError
from keepstream.processors.replay.selection import json_path
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import header

DEFAULT_LIMIT = 50
_LINE = "{:<28}  {:<20}  {:<10}  {:<24}  {:<8}  {:<16}  {}"


@click.command(
    "list",
    cls=SectionedCommand,
    epilog="Example: keepstream dlq list --reason check_violation --since 2h --json | jq -r .id",
)
@selectors()
@click.option("-f", "--follow", is_flag=True,
              help="Wait for new ones until Ctrl-C; with --since or --from-offset begin there.")  # fmt: skip
@topic_option
@json_option
def list_dead_letters(*, chosen: DeadLetterQuery, follow: bool, as_json: bool) -> None:
    """List dead letters, newest first; by default the last 50 that are not resolved.

    Resolved ones were replayed or discarded, which PostgreSQL records. Without it, all of the topic are listed.
    Exit 3 when one of the ids does not exist.
    """
    from keepstream.app.dlq.page import list_all

    with open_dead_letter_topic(chosen.selection) as topic:
        topic.notify_unpublished()
        found = topic.follow(chosen) if follow else list_all(topic, chosen)
        limit = chosen.limit or (None if follow or chosen.selection.ids else DEFAULT_LIMIT)
        for number, one in enumerate(itertools.islice(found, limit)):
            if as_json:
                print_json(to_row(*one))
                continue
            if number == 0:
                click.echo(_line("ID", "DIED", "STATE", "REASON", "STEP", "TOPIC", "MESSAGE"))
            click.echo(_line(*_cells(*one)))


def _line(*cells: str) -> str:
    """Return a line: whole in a pipe, cut to a terminal, where the id is in front and never wrapped."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return one_line(_LINE.format(*map(one_line, cells)).rstrip(), width)


def _cells(dead_letter: DeadLetterRecord, state: str | None) -> tuple[str, ...]:
    return (
        dead_letter.id, format_time(dead_letter.failed_at, "seconds"), state or "-", dead_letter.reason or "-",
        dead_letter.step or "-", dead_letter.origin_topic or "-", dead_letter.message or "",
    )  # fmt: skip


@click.command(epilog="Example: keepstream dlq show events-3-4711 --raw | jq .payload")
@click.argument("name", metavar="ID")
@click.option("--raw", is_flag=True, help="Write the exact bytes of the value to stdout, and nothing else.")
@topic_option
@json_option
def show(*, name: str, raw: bool, as_json: bool) -> None:
    """Show a dead letter: payload, headers, error, attempts, times, its event's row, its replays.

    ID is a dead letter's id, its coordinates in the dead letter topic (TOPIC-PARTITION-OFFSET) or an event_id, whose
    newest dead letter is shown. Exit 3 when there is none.
    """
    from keepstream.app.dlq.lookup import describe, find

    with open_dead_letter_topic() as topic:
        dead_letter = find(topic, name, notify)
        if dead_letter is None:
            raise KeepstreamError("unknown_letter", f"no dead letter has the id, coordinates or event_id {name!r}",
                               "`keepstream dlq list --include-resolved` lists them", NOT_FOUND)  # fmt: skip
        if raw:
            _write_raw(topic.resolve(dead_letter))
            return
        dead_letter = topic.claim_checks.resolve(dead_letter) if topic.index else dead_letter
        known = describe(topic, dead_letter)
    if as_json:
        value = dead_letter.record.value
        headers = [{"name": n, "value": text_of(v)} for n, v in dead_letter.record.headers]
        print_json({**known["dead_letter"], "value": text_of(value), "headers": headers, "event": known["event"],
                    "replays": known["replays"]})  # fmt: skip
    else:
        _print(dead_letter, known)


def _write_raw(dead_letter: DeadLetterRecord) -> None:
    if dead_letter.record.value is None:
        notify("the record has no value (a tombstone)")
    else:
        click.get_binary_stream("stdout").write(dead_letter.record.value)


def _print(dead_letter: DeadLetterRecord, known: Mapping[str, Any]) -> None:
    path = known["dead_letter"]["path"]
    print_fields(known["dead_letter"] | {"value there": path and json_path(dead_letter.record.value, path)})
    click.echo("\nHeaders")
    for name, value in dead_letter.record.headers:
        click.echo(f"  {one_line(name)}: {one_line(text_of(value))}")
    click.echo("\nPayload")
    click.echo(pretty(dead_letter.record.value))
    if known["event"]:
        click.echo("\nEvent")
        print_fields(known["event"])
    for replay in known["replays"]:
        click.echo("\nReplay")
        print_fields(replay)


def _type(dead_letter: DeadLetterRecord) -> str | None:
    """Return ``type`` of the envelope's payload, else of the value (other systems), else of CloudEvents' header."""
    value = dead_letter.record.value
    return json_path(value, "payload.type") or json_path(value, "type") or header(dead_letter.record, "ce_type")


_DEFAULT = ("step", "reason", "verdict")
_GROUPS: dict[str, Callable[[DeadLetterRecord], str | None]] = {
    **{name: attrgetter(name) for name in _DEFAULT},
    "origin": attrgetter("origin_topic"),
    "consumer-group": attrgetter("consumer_group"),
    "type": _type,
    "hour": lambda dead_letter: dead_letter.failed_at.strftime("%Y-%m-%dT%H:00Z"),
}


@click.command(
    cls=SectionedCommand, epilog="Example: keepstream dlq stats --since 1h --fail-above 100 || page-somebody"
)
@selectors()
@click.option("--by", "groups", multiple=True, type=click.Choice([*_GROUPS]), metavar="GROUP",
              help="step, reason, verdict, origin, consumer-group, type or hour. Repeatable. "
                   "Default: step, reason and verdict.")  # fmt: skip
@click.option("--fail-above", type=click.IntRange(min=0), metavar="COUNT", help="Exit 1 when there are more.")
@topic_option
@json_option
def stats(*, chosen: DeadLetterQuery, groups: tuple[str, ...], fail_above: int | None, as_json: bool) -> None:
    """Count the dead letters that are not resolved. ``type`` is the payload's field of that name, or ce_type."""
    names = groups or _DEFAULT
    with open_dead_letter_topic(chosen.selection) as topic:
        found = itertools.islice(topic.oldest(chosen), chosen.limit)
        counts = Counter(tuple(_GROUPS[name](dead_letter) for name in names) for dead_letter, _ in found)
    ranked = sorted(counts.items(), key=lambda item: [str(key) for key in item[0]])
    if "hour" not in names:
        ranked.sort(key=lambda item: -item[1])
    print_rows([{"letters": count, **dict(zip(names, key, strict=True))} for key, count in ranked], as_json=as_json)
    total = counts.total()
    notify(f"{total:,} dead letters")
    if fail_above is not None and total > fail_above:
        raise KeepstreamError("too_many", f"{total} dead letters are more than {fail_above}")
