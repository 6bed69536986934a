"""Edits the values of dead letters in the user's editor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from keepstream.app.dlq.format import one_line
from keepstream.app.errors import REFUSED, KeepstreamError
from keepstream.schemas.dead_letter_record import DeadLetterRecord

MAX_EDITED = 100


def edit_in_editor(dead_letters: Sequence[DeadLetterRecord]) -> Iterator[tuple[DeadLetterRecord, bytes]]:
    """Open $EDITOR with the values, byte for byte; yield each dead letter whose value was changed.

    A line ``# ID`` is above each value. Raises `KeepstreamError` when such a line was changed.
    """
    if len(dead_letters) > MAX_EDITED:
        raise KeepstreamError("too_many", f"more than {MAX_EDITED} dead letters are too many to edit: select fewer")
    names = [b"# " + one_line(dead_letter.id).encode() for dead_letter in dead_letters]
    before = [dead_letter.record.value or b"" for dead_letter in dead_letters]
    text = b"".join(name + b"\n" + value + b"\n" for name, value in zip(names, before, strict=True))
    if _values(text, names) != before:
        why = "a value has a line like those that name the dead letters in the editor"
        raise KeepstreamError("not_editable", why, "edit them one at a time, or change them with --set", REFUSED)
    after = _values(click.edit(text, require_save=False) or b"", names)
    if after is None:
        why = "the lines that name the dead letters were changed: nothing was replayed"
        raise KeepstreamError("edit_failed", why, "leave each `# ID` above its value")
    for dead_letter, old, new in zip(dead_letters, before, after, strict=True):
        if new != old:  # an untouched tombstone is equal to an empty value, and stays a tombstone
            yield dead_letter, new


def _values(text: bytes, names: Sequence[bytes]) -> list[bytes] | None:
    """Return the bytes below each name, without their last line break; None where the names are not these."""
    lines = text.removesuffix(b"\n").split(b"\n")
    known = frozenset(names)
    starts = [number for number, line in enumerate(lines) if line in known]
    if [lines[start] for start in starts] != [*names] or starts[:1] != [0]:
        return None
    ends = [*starts[1:], len(lines)]
    return [b"\n".join(lines[start + 1 : end]) for start, end in zip(starts, ends, strict=True)]
