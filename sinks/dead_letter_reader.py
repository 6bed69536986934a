"""Reading the dead letter topic: newest first, oldest first, or as letters arrive.

Times of death rise with the offset within a partition; the records' own timestamps, which Kafka indexes, are those of
the originals and do not. So a time is found by bisection over what the letters say (`first_since`). Two things break
the rise: letters of others, which say no time, and letters that were imported. Where the bisection meets either, it
gives up and the whole partition is read. It allows for `SLACK` between the clocks of workers.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from schemas.buried import Buried
from sinks.dead_letter_seeker import Seeker
from sinks.dead_letter_walk import newest_letters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from schemas.record import KafkaRecord

SLACK = timedelta(minutes=10)
COPY_WINDOW = 100_000
"""How many letters back a copy of one is recognised. A crash leaves its copies closer together than that."""
Range = tuple[int, int]
# One letter is wanted: fetch one batch, not a megabyte. A chunk is wanted: do not fetch on behind it.
_PROBING = {"fetch.message.max.bytes": 1, "queued.min.messages": 1}
_JUMPING = {"fetch.message.max.bytes": 256 * 1024, "queued.min.messages": 1}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which part of the topic to walk. A superset of what was asked for: times are found with some slack."""

    partitions: Sequence[int] | None = None
    since: datetime | None = None
    until: datetime | None = None
    from_offset: int = 0


EVERYTHING = Stretch()


def read_all(client: Mapping[str, object], topic: str) -> Iterator[KafkaRecord]:
    """Yield every record the topic holds at the time of the call, partition by partition, copies too."""
    with Seeker(client, topic) as seeker:
        for partition, bounds in seeker.bounds().items():
            yield from seeker.read({partition: bounds})


def newest_first(
    client: Mapping[str, object], topic: str, stretch: Stretch = EVERYTHING, *, copies: bool = False
) -> Iterator[KafkaRecord]:
    """Walk back from the end, all partitions merged by time of death; reads little more than is taken.

    Without ``copies`` only the newest of letters with the same id is yielded, as far as `COPY_WINDOW` reaches.
    """
    ranges = _ranges(client, topic, stretch)
    with Seeker(client, topic, **_JUMPING) as seeker, closing(newest_letters(seeker, ranges)) as letters:
        yield from (letter.record for letter in (letters if copies else _distinct(letters)))


def oldest_first(
    client: Mapping[str, object], topic: str, stretch: Stretch = EVERYTHING, *, copies: bool = False
) -> Iterator[KafkaRecord]:
    """Walk from the start to where the topic ends when the walk begins: partition by partition, by offset.

    Without ``copies`` only the oldest of letters with the same id is yielded, as far as `COPY_WINDOW` reaches.
    """
    ranges = _ranges(client, topic, stretch)
    with Seeker(client, topic) as seeker:
        for partition, bounds in ranges.items():
            with closing(seeker.read({partition: bounds})) as records:
                letters = map(Buried, records)
                yield from records if copies else (letter.record for letter in _distinct(letters))


def follow(client: Mapping[str, object], topic: str, stretch: Stretch = EVERYTHING) -> Iterator[KafkaRecord]:
    """Yield letters as they arrive, for ever; first those since the time or offset that is given."""
    past = stretch.since is not None or stretch.from_offset > 0
    starts = {p: start if past else end for p, (start, end) in _ranges(client, topic, stretch).items()}
    with Seeker(client, topic) as seeker:
        yield from seeker.tail(starts)


def letter_at(client: Mapping[str, object], topic: str, partition: int, offset: int) -> KafkaRecord | None:
    """Return the record at this very place, or None."""
    with Seeker(client, topic, **_PROBING) as seeker:
        if partition not in seeker.partitions():
            return None
        low, high = seeker.bounds([partition])[partition]
        return next(seeker.read({partition: (offset, offset + 1)}), None) if low <= offset < high else None


def _ranges(client: Mapping[str, object], topic: str, stretch: Stretch) -> dict[int, Range]:
    with Seeker(client, topic, **_PROBING) as seeker:
        bounds = seeker.bounds(stretch.partitions)
        bounds = {p: (max(low, min(high, stretch.from_offset)), high) for p, (low, high) in bounds.items()}
        starts = first_since(seeker, bounds, stretch.since - SLACK) if stretch.since else {}
        ends = first_since(seeker, bounds, stretch.until + SLACK) if stretch.until else {}
    return {p: (starts.get(p, low), ends.get(p, high)) for p, (low, high) in bounds.items()}


def first_since(seeker: Seeker, bounds: Mapping[int, Range], moment: datetime) -> dict[int, int]:
    """Return where letters begin that died at the moment or later; nothing for a partition whose times do not rise.

    All partitions are bisected together: it takes as many round trips as the largest one needs.
    """
    searches = {p: Bisection(low, high) for p, (low, high) in bounds.items()}
    while asked := {p: (s.middle, s.high) for p, s in searches.items() if not s.done}:
        found = {record.partition: record for record in seeker.read(asked, only_first=True)}
        for partition in asked:
            searches[partition].learn(found.get(partition), moment)
    return {p: s.low for p, s in searches.items() if s.rises}


class Bisection:
    """The search in one partition: the answer is in ``[low, high]``."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.rises = True
        self._seen: dict[int, datetime] = {}

    @property
    def middle(self) -> int:
        return (self.low + self.high) // 2

    @property
    def done(self) -> bool:
        return self.low >= self.high or not self.rises

    def learn(self, record: KafkaRecord | None, moment: datetime) -> None:
        """Take in the first record at or after the middle."""
        if record is None:
            self.high = self.middle
            return
        died_at = Buried(record).last_failed_at
        if died_at is None or not self._fits(record.offset, died_at):
            self.rises = False
        elif died_at < moment:
            self.low = record.offset + 1
        else:
            self.high = self.middle

    def _fits(self, offset: int, died_at: datetime) -> bool:
        before = (at for seen, at in self._seen.items() if seen < offset)
        after = (at for seen, at in self._seen.items() if seen > offset)
        fits = all(at - SLACK <= died_at for at in before) and all(died_at <= at + SLACK for at in after)
        self._seen[offset] = died_at
        return fits


def _distinct(letters: Iterable[Buried]) -> Iterator[Buried]:
    seen: OrderedDict[str, None] = OrderedDict()
    for letter in letters:
        if letter.id in seen:
            continue
        seen[letter.id] = None
        if len(seen) > COPY_WINDOW:
            seen.popitem(last=False)
        yield letter
