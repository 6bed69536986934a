"""Edits the values of dead letters in the user's editor, one line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from keepstream.app.errors import REFUSED, KeepstreamError
from keepstream.schemas.dead_letter_record import DeadLetterRecord

MAX_EDITED = 100


def edit_in_editor(dead_letters: Sequence[DeadLetterRecord]) -> Iterator[tuple[DeadLetterRecord, bytes]]:
    """Open $EDITOR with one value per line, byte for byte; yield each dead letter whose value was changed.

    Raises `KeepstreamError` when a value has line breaks, or when lines were added or removed.
    """
    if len(dead_letters) > MAX_EDITED:
        raise KeepstreamError("too_many", f"more than {MAX_EDITED} dead letters are too many to edit: select fewer")
    before = [dead_letter.record.value or b"" for dead_letter in dead_letters]
    for dead_letter, value in zip(dead_letters, before, strict=True):
        if b"\n" in value:
            why = f"the value of {dead_letter.id} has line breaks, and the editor gets one line per dead letter"
            raise KeepstreamError("not_editable", why, "change it with --set, or in the console", REFUSED)
    edited = click.edit(b"\n".join(before) + b"\n", require_save=False) or b""
    after = edited.removesuffix(b"\n").split(b"\n")
    if len(after) != len(before):
        raise KeepstreamError("edit_failed", f"{len(before)} lines went into the editor and {len(after)} came out")
    for dead_letter, old, new in zip(dead_letters, before, after, strict=True):
        if new != old:  # an untouched tombstone is equal to an empty line, and stays a tombstone
            yield dead_letter, new
