"""Which part of a dead letter topic a selection needs to be looked for in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstream.sinks.kafka.dead_letter_reader import Stretch

if TYPE_CHECKING:
    from keepstream.processors.replay.selection import Selection


def stretch_of(selection: Selection) -> Stretch:
    return Stretch(selection.partitions or None, selection.since, selection.until, selection.from_offset or 0)
