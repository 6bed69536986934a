"""Where in the topic a letter lies of which PostgreSQL says when it died: found by its time, without walking there."""

from __future__ import annotations

from bisect import bisect_left, insort
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

from schemas.buried import Buried
from sinks.dead_letter_seeker import Seeker
from sinks.dead_letter_times import SLACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from app.letters import Queue
    from sinks.postgres.letter_states import Death

    Range = tuple[int, int]
    Ranges = dict[int, Range]

WINDOW, MAX_WINDOW = 32, 512
"""So many letters are read where one is expected, and behind it until their times have passed its own."""
_AROUND = 10_000
"""So many letters of the same time are read: they died together."""
_KEPT = 2_000


_LOOKING_UP = {"fetch.message.max.bytes": 1, "queued.min.messages": 1, "fetch.queue.backoff.ms": 0}
"""One batch of the topic per fetch: what is around a letter is of no use."""


@contextmanager
def places_of(queue: Queue) -> Iterator[Places]:
    """Look up letters in all of a topic."""
    with Seeker(queue.client, queue.topic, **_LOOKING_UP) as seeker:
        yield Places(seeker, seeker.bounds(queue.partitions))


class DisorderError(Exception):
    """The letters' times do not rise: some were imported, or others wrote them. They cannot be found by time."""


class Places:
    """Learns from all that it reads, so that the next letter is found sooner."""

    def __init__(self, seeker: Seeker, bounds: Mapping[int, Range]) -> None:
        self._seeker = seeker
        self._slopes = {p: _Slope(low, high) for p, (low, high) in bounds.items() if low < high}
        self._read: dict[str, Buried] = {}

    def learn(self, letter: Buried) -> None:
        """Note where a letter lies that was read already. Raises DisorderError."""
        if letter.record.partition in self._slopes:
            self._slopes[letter.record.partition].learn(letter.record.offset, _time(letter))

    def find(self, death: Death) -> Buried | None:
        """Return a letter, or None where it left the topic: all that is there died later. Raises DisorderError."""
        if death.id in self._read:
            return self._read[death.id]
        starts: dict[int, int] = {}
        spans = {p: slope.span(death.died_at) for p, slope in self._slopes.items()}
        for turn in count():
            if not spans:
                break
            middle = turn % 4 == 3  # noqa: PLR2004 - a guess may go wrong for long, halves do not
            windows = {p: self._slopes[p].window(death.died_at, span, middle=middle) for p, span in spans.items()}
            for partition, letters in self._look(windows).items():
                narrower = _narrower(letters, death.died_at, windows[partition], spans[partition])
                spans[partition] = narrower
                if narrower[0] >= narrower[1]:
                    starts[partition] = spans.pop(partition)[0]
            if death.id in self._read:
                return self._read[death.id]
        letter = self._among_neighbours(death, starts)
        if letter is None and not self._has_left(death):
            raise DisorderError(death.id)
        return letter

    def _has_left(self, death: Death) -> bool:
        """Whether all that is in the topic died later: then what is not at its place is at no other."""
        unread = {p: (slope.low, slope.low + 1) for p, slope in self._slopes.items() if slope.oldest is None}
        if unread:
            self._look(unread)
        return all(slope.oldest is not None and slope.oldest > death.died_at for slope in self._slopes.values())

    def _among_neighbours(self, death: Death, starts: Mapping[int, int]) -> Buried | None:
        """Read on from where its time begins, and a little before: letters of one batch died together."""
        size = WINDOW
        todo = {p: max(self._slopes[p].low, start - WINDOW) for p, start in starts.items()}
        limits = {p: start + _AROUND for p, start in starts.items()}
        while todo:
            highs = {p: min(self._slopes[p].high, start + size) for p, start in todo.items()}
            read = self._look({p: (start, highs[p]) for p, start in todo.items()})
            if death.id in self._read:
                return self._read[death.id]
            over = {p for p, letters in read.items() if letters and _time(letters[-1]) > death.died_at}
            todo = {p: highs[p] for p in todo if p not in over and highs[p] < min(self._slopes[p].high, limits[p])}
            size = min(size * 2, MAX_WINDOW)
        return None

    def _look(self, windows: Mapping[int, Range]) -> dict[int, list[Buried]]:
        found: dict[int, list[Buried]] = {p: [] for p in windows}
        for record in self._seeker.read(windows):
            letter = Buried(record)
            found[record.partition].append(letter)
            self._read[letter.id] = letter
        for letters in found.values():
            for letter in letters[:1] + letters[-1:]:
                self.learn(letter)
        for name in list(self._read)[: max(0, len(self._read) - _KEPT)]:
            del self._read[name]
        return found


def _time(letter: Buried) -> datetime:
    if letter.last_failed_at is None:
        raise DisorderError(letter.id)
    return letter.last_failed_at


def _narrower(letters: list[Buried], died_at: datetime, window: Range, span: Range) -> Range:
    """Return where the first letter of this time still may be; empty, at that letter, when it is known."""
    if not letters or _time(letters[0]) >= died_at:
        return span[0], window[0]
    if _time(letters[-1]) < died_at:
        return window[1], span[1]
    at = next(letter.record.offset for letter in letters if _time(letter) >= died_at)
    return at, at


class _Slope:
    """What is known of the times in one partition. They rise, but for the clocks of workers."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self._offsets: list[int] = []
        self._times: dict[int, datetime] = {}

    @property
    def oldest(self) -> datetime | None:
        """When the first letter died, once it was read."""
        return self._times.get(self.low)

    def learn(self, offset: int, died_at: datetime) -> None:
        """Note a time. Raises DisorderError when it does not fit to those of its neighbours."""
        at = bisect_left(self._offsets, offset)
        before = [self._times[known] for known in self._offsets[max(0, at - 1) : at]]
        after = [self._times[known] for known in self._offsets[at : at + 1]]
        if any(time - SLACK > died_at for time in before) or any(died_at > time + SLACK for time in after):
            raise DisorderError(offset)
        if offset not in self._times:
            insort(self._offsets, offset)
            self._times[offset] = died_at

    def span(self, died_at: datetime) -> Range:
        """Return the offsets among which the first letter of this time is."""
        before, after = self._around(died_at)
        return (self.low if before is None else before + 1), (self.high if after is None else after)

    def window(self, died_at: datetime, span: Range, *, middle: bool) -> Range:
        """Return where to look next: where the time should be between what is known, or in the middle."""
        guess = (span[0] + span[1]) // 2 if middle else self._guess(died_at, span)
        start = max(span[0], min(guess, span[1] - 1) - WINDOW // 2)
        return start, min(span[1], start + WINDOW)

    def _guess(self, died_at: datetime, span: Range) -> int:
        before, after = self._around(died_at)
        if before is None or after is None:
            return span[0] if after is not None or not self._offsets else span[1]
        earlier, later = self._times[before], self._times[after]
        share = (died_at - earlier) / (later - earlier) if later > earlier else 0.5
        return before + round((after - before) * share)

    def _around(self, died_at: datetime) -> tuple[int | None, int | None]:
        times = [self._times[offset] for offset in self._offsets]
        at = bisect_left(times, died_at)
        return (self._offsets[at - 1] if at else None), (self._offsets[at] if at < len(self._offsets) else None)
