"""``keepstream dlq export``, ``purge`` and ``import``."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

import click

from keepstream.app.cli.options import SectionedCommand, selectors, time_option
from keepstream.app.cli.output import check_confirmable, json_option, notify, open_dead_letter_topic, print_rows
from keepstream.app.cli.topic_option import topic_option
from keepstream.app.cli.types import OFFSET, PARTITION
from keepstream.app.dlq.selectors import DeadLetterQuery, bad_selector
from keepstream.app.errors import REFUSED, KeepstreamError
from keepstream.processors.replay.selection import Selection
from keepstream.schemas.dead_letter_json import InvalidExportError
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.dead_letter_file import read_dead_letters, stream_dead_letters, write_dead_letters

if TYPE_CHECKING:
    from keepstream.app.dlq.topic import DeadLetterTopic

_BATCH = 1000


@click.command(cls=SectionedCommand, epilog="Example: keepstream dlq export --since 7d --output dead.jsonl")
@selectors(resolved=False)
@click.option("--output", required=True, metavar="FILE", help="A new file, or - for stdout.")
@topic_option
def export(*, chosen: DeadLetterQuery, output: str) -> None:
    """Write dead letters as JSON lines, oldest first, byte for byte; resolved ones and copies too.

    Key, value and header values are base64. `keepstream dlq import` puts them back.
    """
    with open_dead_letter_topic(chosen.selection, with_index=False) as topic:
        records = itertools.islice(_matching(topic, chosen), chosen.limit)
        if output == "-":
            count = stream_dead_letters(click.get_binary_stream("stdout"), records)
        else:
            count = write_export(Path(output), records)
    notify(f"{count:,} dead letters exported")


def write_export(path: Path, records: Iterable[KafkaRecord]) -> int:
    """Write a new file; KeepstreamError when it exists (5) or cannot be written (1)."""
    try:
        return write_dead_letters(path, records)
    except FileExistsError:
        hint = "an export never overwrites a file; name another"
        raise KeepstreamError("file_exists", f"{path} exists", hint, REFUSED) from None
    except OSError as error:
        raise KeepstreamError("not_exported", f"{path}: {error.strerror}") from None


def _matching(topic: DeadLetterTopic, chosen: DeadLetterQuery) -> Iterator[KafkaRecord]:
    from keepstream.app.dlq.coverage import ranges_of
    from keepstream.app.dlq.lookup_by_offset import require_ids
    from keepstream.sinks.kafka.dead_letter_reader import oldest_first

    ranges = ranges_of(topic.client, topic.name, chosen.selection, None)
    for found in require_ids(oldest_first(topic.client, topic.name, ranges, copies=True), chosen.selection.ids):
        dead_letter = topic.resolve(found)
        if chosen.selection.matches(dead_letter):
            yield dead_letter.record


@click.command(epilog="Example: keepstream dlq purge --until 30d --export dead-2026-10.jsonl")
@time_option("--until", help="Delete up to the first dead letter that failed at TIME or later.")
@click.option("--to-offset", type=OFFSET, metavar="OFFSET", help="Delete up to this offset, exclusive.")
@click.option("--partition", "partitions", multiple=True, type=PARTITION, metavar="NUMBER",
              help="Only this partition. Repeatable. --to-offset needs it where there are several.")  # fmt: skip
@click.option("--export", "export_to", type=click.Path(path_type=Path), metavar="FILE",
              help="A new file for what is deleted. Default: TOPIC-TIME.jsonl in the current folder.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask for the topic's name.")
@topic_option
@json_option
def purge(
    *, until: datetime | None, to_offset: int | None, partitions: tuple[int, ...], export_to: Path | None, yes: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Export old dead letters to a file, then delete them from the topic, resolved or not.

    They are deleted once the file is safe on the disk and the topic's name was typed. Dead letters that were open are
    discarded then; `keepstream dlq import` of the file brings them back. Off a terminal it refuses without --yes.
    """
    if (until is None) == (to_offset is None):
        raise bad_selector("--until, --to-offset", "exactly one of them is needed")
    check_confirmable(yes=yes)
    with open_dead_letter_topic(Selection(partitions=partitions), needs_index=True) as topic:
        topic.check_rights()
        if to_offset is not None:
            _check_offset(topic, partitions, to_offset)
        path = export_to or Path(f"{topic.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl")
        rows = _Purge(topic, partitions or topic.partitions, until, to_offset).run(path, yes=yes)
    print_rows(rows, as_json=as_json)


def _check_offset(topic: DeadLetterTopic, partitions: tuple[int, ...], to_offset: int) -> None:
    if not partitions and len(topic.partitions) > 1:
        raise bad_selector("--to-offset", "an offset is one partition's: name it with --partition")
    for partition, (_, end) in topic.client.watermarks(topic.name, partitions or topic.partitions).items():
        if to_offset > end:
            raise bad_selector("--to-offset", f"partition {partition} ends at offset {end}")


@dataclass(slots=True)
class _Purge:
    """Exports dead letters, asks, deletes them from the topic and marks them discarded."""

    topic: DeadLetterTopic
    partitions: Sequence[int]
    until: datetime | None
    to_offset: int | None
    removed: Counter[int] = field(default_factory=Counter)
    ends: dict[int, int] = field(default_factory=dict)
    """Partition -> the offset after the last dead letter that is exported."""

    def run(self, path: Path, *, yes: bool) -> list[dict[str, int]]:
        """Return a row per partition that lost dead letters."""
        count = write_export(path, self._selected())
        if count == 0:
            path.unlink()
            notify("there is nothing to delete")
            return []
        notify(f"{count:,} dead letters are exported to {path}")
        question = f"Type {self.topic.name} to delete {count:,} dead letters"
        if not yes and click.prompt(question, err=True, default="", show_default=False) != self.topic.name:
            raise KeepstreamError("refused", "that is not the topic's name: nothing was deleted", exit_code=REFUSED)
        starts = self.topic.client.delete_records(self.topic.name, self.ends)
        if index := self.topic.index:
            with path.open("rb") as file:
                ids = (DeadLetterRecord(record).id for record in read_dead_letters(file))
                while batch := list(itertools.islice(ids, _BATCH)):
                    index.discard(batch)
        notify(f"{count:,} dead letters deleted")
        return [{"partition": p, "removed": n, "starts_at": starts[p]} for p, n in sorted(self.removed.items())]

    def _selected(self) -> Iterator[KafkaRecord]:
        """Yield what is deleted; count it per partition."""
        from keepstream.sinks.kafka.dead_letter_reader import oldest_first

        for partition, bounds in self.topic.client.watermarks(self.topic.name, self.partitions).items():
            dead_letters = oldest_first(self.topic.client, self.topic.name, {partition: [bounds]}, copies=True)
            for dead_letter in itertools.takewhile(self._is_selected, dead_letters):
                self.removed[partition] += 1
                self.ends[partition] = dead_letter.record.offset + 1
                yield self.topic.resolve(dead_letter).record

    def _is_selected(self, dead_letter: DeadLetterRecord) -> bool:
        if self.to_offset is not None:
            return dead_letter.record.offset < self.to_offset
        return self.until is not None and dead_letter.failed_at < self.until


@click.command("import", epilog="Example: keepstream dlq import dead.jsonl")
@click.argument("source", type=click.File("rb"), metavar="FILE")
@topic_option
@json_option
def import_dead_letters(*, source: IO[bytes], as_json: bool) -> None:
    """Put exported dead letters (FILE, or - for stdin) back into the dead letter topic, byte for byte.

    The broker dates them anew; the timestamp of another system's dead letter is kept in a header.
    Every line is checked before the first is sent: exit 1 and nothing is imported when one is not a dead letter. Each
    is confirmed by the broker. Those that a purge discarded are open again.
    """
    with open_dead_letter_topic(needs_index=True) as topic, _spooled(source) as file:
        topic.check_rights()
        try:
            deque(read_dead_letters(file), maxlen=0)
        except InvalidExportError as error:
            raise KeepstreamError("not_a_letter", f"{error}; nothing was imported") from None
        file.seek(0)
        count = sum(_import(topic, file))
    print_rows([{"topic": topic.name, "imported": count}], as_json=as_json)


@contextmanager
def _spooled(source: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield a file that can be read twice: a pipe is copied to the disk."""
    if source.seekable():
        yield source
        return
    with TemporaryFile() as copy:
        shutil.copyfileobj(source, copy)
        copy.seek(0)
        yield copy


def _import(topic: DeadLetterTopic, source: IO[bytes]) -> Iterator[int]:
    """Yield the number of confirmed records, batch by batch."""
    from keepstream.sinks.kafka.dead_letter_importer import DeadLetterImporter

    for batch in DeadLetterImporter(topic.client.config, topic.name, topic.partitions).send(read_dead_letters(source)):
        if topic.index:
            topic.index.reimported({DeadLetterRecord(record).id: at for record, at in batch})
        yield len(batch)
