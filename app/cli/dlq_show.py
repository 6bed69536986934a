"""``keepstream dlq show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from keepstream.app.cli.failure import NOT_FOUND, CommandError
from keepstream.app.cli.output import json_option, print_json, print_rows, say
from keepstream.app.dlq.format import in_one_line, pretty, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keepstream.schemas.dead_letter_record import Buried


@click.command(epilog="Example: keepstream dlq show events-3-4711 --raw | jq .payload")
@click.argument("name", metavar="ID")
@click.option("--raw", is_flag=True, help="Write the exact bytes of the value to stdout, and nothing else.")
@json_option
def show(*, name: str, raw: bool, as_json: bool) -> None:
    """Show a dead letter: payload, headers, error, attempts, times, its event's row, its replays.

    ID is the letter's id, its place in the dead letter topic (TOPIC-PARTITION-OFFSET) or an event_id, of which the
    newest death is shown. Exit 3 when there is none.
    """
    from keepstream.app.cli.letters import open_queue
    from keepstream.app.dlq.lookup import known_of, locate

    with open_queue() as queue:
        letter = locate(queue, name, say)
        if letter is None:
            raise CommandError("unknown_letter", f"no dead letter has the id, place or event_id {name!r}",
                               "`keepstream dlq list --all` lists them", NOT_FOUND)  # fmt: skip
        if raw:
            _write_raw(queue.whole(letter))
            return
        letter = queue.originals.whole(letter) if queue.ledger else letter
        known = known_of(queue, letter)
    if as_json:
        value = letter.record.value
        headers = [{"name": n, "value": text_of(v)} for n, v in letter.record.headers]
        print_json({**known["letter"], "value": text_of(value), "headers": headers, "event": known["event"],
                    "replays": known["replays"]})  # fmt: skip
    else:
        _print(letter, known)


def _write_raw(letter: Buried) -> None:
    if letter.record.value is None:
        say("the record has no value (a tombstone)")
    else:
        click.get_binary_stream("stdout").write(letter.record.value)


def _print(letter: Buried, known: Mapping[str, Any]) -> None:
    from keepstream.processors.replay.selection import json_path

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
