"""``keepstream dlq show``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from app.cli.failure import NOT_FOUND, CommandError
from app.cli.letter_text import in_one_line, pretty, row_of, text_of
from app.cli.shared import json_option, print_json, print_rows, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from app.cli.letters import Queue
    from schemas.buried import Buried

_PATH = re.compile(r"([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*): ")


@click.command(epilog="Example: keepstream dlq show events-3-4711 --raw | jq .payload")
@click.argument("name", metavar="ID")
@click.option("--raw", is_flag=True, help="Write the exact bytes of the value to stdout, and nothing else.")
@json_option
def show(*, name: str, raw: bool, as_json: bool) -> None:
    """Show a dead letter: payload, headers, error, attempts, times, its event's row, its replays.

    ID is the letter's id, its place in the dead letter topic (TOPIC-PARTITION-OFFSET) or an event_id, of which the
    newest death is shown. Exit 3 when there is none.
    """
    from app.cli.letters import open_queue

    with open_queue() as queue:
        letter = locate(queue, name)
        if letter is None:
            raise CommandError("unknown_letter", f"no dead letter has the id, place or event_id {name!r}",
                               "`keepstream dlq list --all` lists them", NOT_FOUND)  # fmt: skip
        if raw:
            _write_raw(queue.whole(letter))
            return
        letter = queue.originals.whole(letter) if queue.ledger else letter
        known = _known(queue, letter)
    if as_json:
        value = letter.record.value
        headers = [{"name": n, "value": text_of(v)} for n, v in letter.record.headers]
        print_json({**known["letter"], "value": text_of(value), "headers": headers, "event": known["event"],
                    "replays": known["replays"]})  # fmt: skip
    else:
        _print(letter, known)


def locate(queue: Queue, name: str) -> Buried | None:
    """Find a letter: at its place, around the time PostgreSQL remembers, else by walking back through the topic."""
    from sinks.dead_letter_reader import Stretch, letter_at, newest_first
    from sinks.postgres.letter_states import death_key

    topic, partition, offset = death_key(name)
    if topic == queue.topic and partition is not None and offset is not None:
        return letter_at(queue.client, topic, partition, offset)
    died_at = queue.ledger.died_at(name) if queue.ledger else None
    if died_at is not None:
        around = Stretch(since=died_at, until=died_at + timedelta(seconds=1))
        if letter := _first_named(name, newest_first(queue.client, queue.topic, around)):
            return letter
    if queue.ledger:
        say("PostgreSQL does not know it; walking back through the whole topic")
    return _first_named(name, newest_first(queue.client, queue.topic))


def _first_named(name: str, letters: Iterable[Buried]) -> Buried | None:
    return next((one for one in letters if name in (one.id, one.event_id)), None)


def _write_raw(letter: Buried) -> None:
    if letter.record.value is None:
        say("the record has no value (a tombstone)")
    else:
        click.get_binary_stream("stdout").write(letter.record.value)


def _known(queue: Queue, letter: Buried) -> dict[str, Any]:
    """Collect what the topic and PostgreSQL say."""
    ledger = queue.ledger
    state = ledger.of([letter.id]).get(letter.id) if ledger else None
    return {
        "letter": row_of(letter, state) | {"path": _path(letter)},
        "event": ledger.event(letter.event_id) if ledger and letter.event_id else None,
        "replays": ledger.replays(letter.id) if ledger else [],
    }


def _path(letter: Buried) -> str | None:
    """Return the field that the message is about: the contract's messages begin with it."""
    found = _PATH.match(letter.message or "") if letter.step == "validate" else None
    return found and found[1]


def _print(letter: Buried, known: Mapping[str, Any]) -> None:
    from processors.selection import json_path

    for name, value in known["letter"].items():
        if value is not None:
            click.echo(f"{name:<17} {in_one_line(value)}")
    path = known["letter"]["path"]
    if path and (found := json_path(letter.record.value, path)) is not None:
        click.echo(f"{'value there':<17} {in_one_line(found)}")
    click.echo("\nHeaders")
    for name, value in letter.record.headers:
        click.echo(f"  {in_one_line(name)}: {in_one_line(text_of(value))}")
    click.echo("\nPayload")
    click.echo(pretty(letter.record.value))
    if known["event"]:
        click.echo("\nEvent")
        print_rows([known["event"]], as_json=False)
    if known["replays"]:
        click.echo("\nReplays")
        print_rows(known["replays"], as_json=False)
