"""``keepstream dlq import``."""

from __future__ import annotations

import shutil
from collections import deque
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

import click

from keepstream.app.cli.failure import FAILED, CommandError
from keepstream.app.cli.output import json_option, print_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keepstream.app.dlq.topic import Queue


@click.command("import", epilog="Example: keepstream dlq import dead.jsonl")
@click.argument("source", type=click.File("rb"), metavar="FILE")
@json_option
def import_letters(*, source: IO[bytes], as_json: bool) -> None:
    """Put exported dead letters (FILE, or - for stdin) back into the dead letter topic, byte for byte.

    Every line is checked before the first is sent: exit 1 and nothing is imported when one is not a dead letter. Each
    is confirmed by the broker. Those that a purge discarded are open again.
    """
    from keepstream.app.cli.letters import open_queue
    from keepstream.schemas.dead_letter_json import NotALetterError
    from keepstream.sinks.dead_letter_file import read_letters

    with open_queue() as queue, _spooled(source) as file:
        try:
            deque(read_letters(file), maxlen=0)
        except NotALetterError as error:
            raise CommandError("not_a_letter", f"{error}; nothing was imported", exit_code=FAILED) from None
        file.seek(0)
        count = sum(_put_back(queue, file))
    print_rows([{"topic": queue.topic, "imported": count}], as_json=as_json)


@contextmanager
def _spooled(source: IO[bytes]) -> Iterator[IO[bytes]]:
    """Give a file that can be read twice: a pipe is copied to the disk."""
    if source.seekable():
        yield source
        return
    with TemporaryFile() as copy:
        shutil.copyfileobj(source, copy)
        copy.seek(0)
        yield copy


def _put_back(queue: Queue, source: IO[bytes]) -> Iterator[int]:
    """Yield how many were confirmed, batch by batch."""
    from keepstream.schemas.dead_letter_record import Buried
    from keepstream.sinks.dead_letter_file import read_letters
    from keepstream.sinks.kafka.dead_letter_importer import LettersReturn

    for batch in LettersReturn(queue.client, queue.topic, queue.partitions).send(read_letters(source)):
        if queue.ledger:
            queue.ledger.returned({Buried(record).id: place for record, place in batch})
        yield len(batch)
