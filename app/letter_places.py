"""Dead letters whose places PostgreSQL names, read from the topic without a search."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

from schemas.buried import Buried
from sinks.dead_letter_seeker import Seeker
from sinks.postgres.letter_states import death_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from app.letters import Queue
    from sinks.postgres.letter_states import Death

    Range = tuple[int, int]

_NEAR = 32
"""Letters that lie no further apart are read in one go: a jump costs as much as reading so many."""
_LOOKING_UP = {"fetch.message.max.bytes": 1, "queued.min.messages": 1, "fetch.queue.backoff.ms": 0}
"""One batch of the topic per fetch: what is around a letter is of no use."""


class NoPlaceError(Exception):
    """PostgreSQL does not know where a letter lies in this topic, or another one lies there."""


@contextmanager
def places_of(queue: Queue) -> Iterator[Places]:
    """Look up letters in all of a topic."""
    with Seeker(queue.client, queue.topic, **_LOOKING_UP) as seeker:
        yield Places(queue, seeker)


class Places:
    """Reads letters at their places, several partitions at once."""

    def __init__(self, queue: Queue, seeker: Seeker) -> None:
        self._queue, self._seeker = queue, seeker

    def find(self, deaths: Sequence[Death]) -> dict[str, Buried | None]:
        """Return each letter by its id, None for one that left the topic. Raises NoPlaceError."""
        bounds = self._seeker.bounds(self._queue.partitions)
        found: dict[str, Buried | None] = {death.id: None for death in deaths}
        wanted: dict[int, dict[int, str]] = defaultdict(dict)
        for death in deaths:
            partition, offset = self._place(death, bounds)
            if offset >= bounds[partition][0]:
                wanted[partition][offset] = death.id
        for letter in self._read({partition: _ranges(offsets) for partition, offsets in wanted.items()}):
            name = wanted[letter.record.partition].pop(letter.record.offset, None)
            if name == letter.id:
                found[name] = letter
            elif name is not None:
                raise NoPlaceError(name)
        return found

    def _place(self, death: Death, bounds: Mapping[int, Range]) -> tuple[int, int]:
        topic, partition, offset = death_key(death.place or "")
        if topic != self._queue.topic or partition is None or offset is None or partition not in bounds:
            raise NoPlaceError(death.id)
        if offset >= bounds[partition][1]:
            raise NoPlaceError(death.id)
        return partition, offset

    def _read(self, ranges: dict[int, list[Range]]) -> Iterator[Buried]:
        while ranges := {partition: left for partition, left in ranges.items() if left}:
            yield from map(Buried, self._seeker.read({partition: left.pop() for partition, left in ranges.items()}))


def _ranges(offsets: Mapping[int, str]) -> list[Range]:
    """Return what to read for these offsets, the last part first."""
    ordered = sorted(offsets)
    breaks = [i for i, (here, following) in enumerate(pairwise(ordered), 1) if following - here > _NEAR]
    edges = [0, *breaks, len(ordered)]
    return [(ordered[start], ordered[end - 1] + 1) for start, end in pairwise(edges)]
