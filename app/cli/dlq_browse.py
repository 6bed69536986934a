"""``keepstream dlq list``."""

from __future__ import annotations

import itertools
import shutil
import sys
from typing import TYPE_CHECKING

import click

from keepstream.app.cli.options import selectors
from keepstream.app.cli.output import json_option, print_json
from keepstream.app.dlq.format import in_one_line, moment_text, row_of

if TYPE_CHECKING:
    from keepstream.app.dlq.selectors import Chosen
    from keepstream.app.dlq.topic import Found

DEFAULT_LIMIT = 50
_LINE = "{:<20}  {:<10}  {:<8}  {:<24}  {:<28}  {}"
_MESSAGE_AT = 102


@click.command("list", epilog="Example: keepstream dlq list --reason check_violation --since 2h --json | jq -r .id")
@selectors()
@click.option("-f", "--follow", is_flag=True,
              help="Wait for new ones until Ctrl-C; with --since or --from-offset begin there.")  # fmt: skip
@json_option
def list_letters(*, chosen: Chosen, follow: bool, as_json: bool) -> None:
    """List dead letters, newest first; those not yet resolved, the last 50, unless told otherwise.

    Resolved ones were replayed or discarded; PostgreSQL knows that. Without it, all that the topic holds are listed.
    """
    from keepstream.app.cli.letters import open_queue

    with open_queue(chosen.selection) as queue:
        found = queue.arriving(chosen) if follow else queue.newest(chosen)
        limit = chosen.limit or (None if follow else DEFAULT_LIMIT)
        for number, one in enumerate(itertools.islice(found, limit)):
            if as_json:
                print_json(row_of(*one))
                continue
            if number == 0:
                click.echo(_LINE.format("DIED", "STATE", "STEP", "REASON", "ID", "MESSAGE"))
            click.echo(_line(one))


def _line(found: Found) -> str:
    """Cut the message at the edge of a terminal; never in a pipe."""
    letter, state = found
    room = shutil.get_terminal_size().columns - _MESSAGE_AT if sys.stdout.isatty() else None
    return _LINE.format(
        moment_text(letter.failed_at, "seconds"), state or "-", letter.step or "-",
        in_one_line(letter.reason or "-"), in_one_line(letter.id), in_one_line(letter.message, room and max(room, 20)),
    )  # fmt: skip
