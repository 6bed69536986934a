"""``keepstream dlq export``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keepstream.app.cli.failure import FAILED, REFUSED, CommandError
from keepstream.app.cli.options import selectors
from keepstream.app.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from keepstream.app.dlq.selectors import Chosen
    from keepstream.app.dlq.topic import Queue
    from keepstream.schemas.record import KafkaRecord


@click.command(epilog="Example: keepstream dlq export --since 7d --output dead.jsonl")
@selectors(resolved=False)
@click.option("--output", required=True, metavar="FILE", help="A new file, or - for stdout.")
def export(*, chosen: Chosen, output: str) -> None:
    """Write dead letters as JSON lines, oldest first, byte for byte; resolved ones and copies too.

    Key, value and header values are base64. `keepstream dlq import` puts them back.
    """
    from keepstream.app.cli.letters import open_queue
    from keepstream.sinks.dead_letter_file import stream_letters

    with open_queue(chosen.selection, with_ledger=False) as queue:
        records = itertools.islice(_matching(queue, chosen), chosen.limit)
        if output == "-":
            count = stream_letters(click.get_binary_stream("stdout"), records)
        else:
            count = write_export(Path(output), records)
    say(f"{count:,} dead letters exported")


def write_export(path: Path, records: Iterable[KafkaRecord]) -> int:
    """Write a new file; CommandError when it exists (5) or cannot be written (1)."""
    from keepstream.sinks.dead_letter_file import write_letters

    try:
        return write_letters(path, records)
    except FileExistsError:
        raise CommandError("file_exists", f"{path} exists", "exports never overwrite; name another", REFUSED) from None
    except OSError as error:
        raise CommandError("not_exported", f"{path}: {error.strerror}", exit_code=FAILED) from None


def _matching(queue: Queue, chosen: Chosen) -> Iterator[KafkaRecord]:
    from keepstream.app.dlq.stretch import stretch_of
    from keepstream.sinks.kafka.dead_letter_reader import oldest_first

    for found in oldest_first(queue.client, queue.topic, stretch_of(chosen.selection), copies=True):
        letter = queue.whole(found)
        if chosen.selection.matches(letter):
            yield letter.record
