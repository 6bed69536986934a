"""``keepstream dlq import``."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import click

from app.cli.failure import FAILED, CommandError
from app.cli.shared import json_option, print_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.cli.letters import Queue


@click.command("import", epilog="Example: keepstream dlq import dead.jsonl")
@click.argument("source", type=click.File("rb"), metavar="FILE")
@json_option
def import_letters(*, source: IO[bytes], as_json: bool) -> None:
    """Put exported dead letters (FILE, or - for stdin) back into the dead letter topic, byte for byte.

    Each is confirmed by the broker. Those that were discarded by a purge are open again. Exit 1 at the first line
    that is not a dead letter; what came before it is back.
    """
    from app.cli.letters import open_queue
    from schemas.exported import NotALetterError

    count = 0
    with open_queue() as queue:
        try:
            for confirmed in _put_back(queue, source):
                count += confirmed
        except NotALetterError as error:
            raise CommandError("not_a_letter", f"{error}; {count} before it were imported", exit_code=FAILED) from None
    print_rows([{"topic": queue.topic, "imported": count}], as_json=as_json)


def _put_back(queue: Queue, source: IO[bytes]) -> Iterator[int]:
    """Yield how many were confirmed, batch by batch."""
    from schemas.buried import Buried
    from sinks.dead_letter_file import read_letters
    from sinks.dead_letter_return import LettersReturn

    for batch in LettersReturn(queue.client, queue.topic, queue.partitions).send(read_letters(source)):
        if queue.ledger:
            queue.ledger.reopen([Buried(record).id for record in batch])
        yield len(batch)
