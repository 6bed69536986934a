"""Files of exported dead letters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from keepstream.schemas.dead_letter_json import InvalidExportError, from_json_line, to_json_line
from keepstream.schemas.record import KafkaRecord


def write_dead_letters(path: Path, records: Iterable[KafkaRecord]) -> int:
    """Write a new file and return its number of dead letters, once it is on the disk.

    Raises FileExistsError: an earlier export may be the only copy of what was purged. The file is for its owner only.
    """
    path.touch(0o600, exist_ok=False)
    try:
        with path.open("wb") as file:
            count = stream_dead_letters(file, records)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()  # half an export must not look like one
        raise
    _sync_folder(path)
    return count


def stream_dead_letters(file: IO[bytes], records: Iterable[KafkaRecord]) -> int:
    """Write dead letters to an open file and return their number."""
    count = 0
    for record in records:
        file.write(to_json_line(record).encode() + b"\n")
        count += 1
    return count


def read_dead_letters(file: Iterable[bytes]) -> Iterator[KafkaRecord]:
    """Yield the dead letters of an export. Raises InvalidExportError with the number of the line."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            yield from_json_line(line)
        except InvalidExportError as error:
            raise InvalidExportError(f"line {number}: {error}") from None


def _sync_folder(path: Path) -> None:
    """Sync the folder: only then is the name of a new file on the disk."""
    folder = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
