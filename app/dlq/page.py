"""One page of dead letters, newest first, in bounded time: whoever waits for a page does not wait for a topic.

The newest letters are read from the topic. Where few of them match, PostgreSQL is asked which ones do, and those are
looked up in the topic, one by one: `keepstream.app.dlq.page`. A topic that PostgreSQL does not know is walked.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice

from keepstream.app.dlq.lookup_by_offset import Places, StaleRecordIdError, places_of
from keepstream.app.dlq.selectors import Chosen
from keepstream.app.dlq.topic import Found, Queue, scan_range_of
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import parse_record_id
from keepstream.sinks.kafka.dead_letter_reader import Stretch, newest_first
from keepstream.sinks.postgres.dead_letters import DeadLetterKey

_CHUNK = 50
NEWEST = DeadLetterKey(datetime.max.replace(tzinfo=UTC), "")
"""All died before this."""


@dataclass(slots=True)
class IndexScan:
    """Fills up ``found`` with letters older than what was walked, whose offsets are ``ends`` and beyond."""

    queue: Queue
    chosen: Chosen
    size: int
    found: list[Found]
    ends: Mapping[int, int]
    deadline: float
    before: DeadLetterKey | None = None
    """All that PostgreSQL knows was looked up down to here."""
    known_end: bool = False
    looked_at: int = 0
    missing: int = 0
    back_to: datetime | None = None

    def run(self, before: DeadLetterKey | None) -> None:
        """Go on behind a death, or begin with the newest: a walk need not have met it. Raises `StaleRecordIdError`."""
        self.before = before or NEWEST
        with places_of(self.queue.client, self.queue.topic) as places:
            while not self._full() and not self.known_end:
                self._take(places)

    def _take(self, places: Places) -> None:
        deaths = self._next_deaths()
        self.known_end = len(deaths) < _CHUNK
        matching, met = [], {letter.id for letter, _ in self.found}
        letters = places.find({death.id: death.place for death in deaths if death.id not in met})
        for death in deaths:
            self.before, self.back_to = death, death.died_at
            if death.id in met:
                continue
            letter = letters[death.id]
            self.looked_at += 1
            self.missing += letter is None
            if letter and self._is_new(letter) and self._matches(letter):
                matching.append(letter)
            if len(self.found) + len(matching) >= self.size:
                self.known_end &= death == deaths[-1]
                break
        self.found.extend(self.queue.with_states(matching, resolved_too=self.chosen.resolved_too))

    def _next_deaths(self) -> list[DeadLetterKey]:
        ledger, selection = self.queue.ledger, self.chosen.selection
        assert ledger is not None  # noqa: S101 - without it nobody leaps
        assert self.before is not None  # noqa: S101 - the same
        return ledger.deaths(asdict(selection), self.before, _CHUNK, resolved_too=self.chosen.resolved_too)

    def _full(self) -> bool:
        return len(self.found) >= self.size or time.monotonic() > self.deadline

    def _is_new(self, letter: DeadLetterRecord) -> bool:
        """Whether the walk did not pass it."""
        partition, offset = letter.record.partition, letter.record.offset
        return offset < self.ends.get(partition, offset + 1)

    def _matches(self, letter: DeadLetterRecord) -> bool:
        selection = self.chosen.selection
        return selection.matches(self.queue.whole(letter) if selection.where else letter)


BUDGET_S = 1.0
"""How long a page may look for what matches, before it shows what it has and where to go on."""
LEAP_AFTER = 50
"""So many letters are passed before PostgreSQL is asked where the next match is."""
RARE = 100
"""Fewer than one letter in so many is looked up sooner than walked to."""
_FIRST_CHUNK, _MAX_CHUNK = 50, 2000


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins. ``ends``: partition -> offset before which the walk goes on.

    ``before``: what the topic holds behind ``ends`` was shown as far as PostgreSQL knows it, down to this death.
    ``walk``: PostgreSQL is not asked.
    """

    ends: Mapping[int, int] = field(default_factory=dict)
    before: DeadLetterKey | None = None
    walk: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """``exhausted``: there is no next page. ``known_end``: PostgreSQL knows none, and ``following`` would walk."""

    found: Sequence[Found]
    following: Cursor
    exhausted: bool
    known_end: bool
    looked_at: int
    missing: int
    """So many PostgreSQL knows of that are not in the topic any more."""
    back_to: datetime | None
    """When the last letter that was looked at died."""


def list_page(queue: Queue, chosen: Chosen, size: int, start: Cursor | None = None, budget_s: float = BUDGET_S) -> Page:
    """Return the next ``size`` letters from ``start`` on, or fewer when the budget was used up."""
    start = start or Cursor()
    may_leap = not start.walk and _is_known(queue, chosen)
    walk = _Walk(queue, chosen, size, dict(start.ends), time.monotonic() + budget_s, may_leap=may_leap)
    if not start.before:
        walk.run()
    leap = IndexScan(queue, chosen, size, walk.found, walk.ends, walk.deadline)
    if start.before or walk.wants_to_leap:
        walked = len(walk.found)
        try:
            leap.run(start.before)
        except StaleRecordIdError:
            del walk.found[walked:]
            leap.before, walk.may_leap = None, False
            walk.run()
    ended = leap.known_end
    following = Cursor(walk.ends, None if ended else leap.before, walk=start.walk or ended or not walk.may_leap)
    looked_at, back_to = walk.looked_at + leap.looked_at, leap.back_to or (walk.last.failed_at if walk.last else None)
    return Page(walk.found, following, walk.exhausted, ended, looked_at, leap.missing, back_to)


def _is_known(queue: Queue, chosen: Chosen) -> bool:
    """Whether PostgreSQL can tell, nearly, what is selected: payloads and keys it does not know."""
    asked = chosen.selection
    if queue.ledger is None or any(parse_record_id(name)[0] in (None, queue.topic) for name in asked.ids):
        return False
    named = asked.ids or asked.event_ids or asked.steps or asked.reasons or asked.verdicts or asked.sqlstates
    return bool(named) or not (asked.keys or asked.where or asked.partitions or asked.from_offset)


@dataclass(slots=True)
class _Walk:
    """Reads the topic backwards. ``wants_to_leap`` is why it ended early."""

    queue: Queue
    chosen: Chosen
    size: int
    ends: dict[int, int]
    deadline: float
    may_leap: bool
    found: list[Found] = field(default_factory=list)
    exhausted: bool = False
    wants_to_leap: bool = False
    looked_at: int = 0
    last: DeadLetterRecord | None = None
    """The last letter that was looked at."""

    def run(self) -> None:
        """Walk to a full page, to the end, or to where PostgreSQL knows better: it knows times without a search."""
        begin, stretch = dict(self.ends), self._stretch()
        self.wants_to_leap, size = False, max(self.size, _FIRST_CHUNK)
        with closing(newest_first(self.queue.client, self.queue.topic, stretch)) as letters:
            while chunk := list(islice(letters, size)):
                self._look_at(chunk)
                self.wants_to_leap = self._should_leap(chunk)
                if len(self.found) == self.size or time.monotonic() > self.deadline or self.wants_to_leap:
                    return
                if stretch != self._stretch(begin):
                    break
                size = min(size * 2, _MAX_CHUNK)
            else:
                self.exhausted = True
                return
        self.found.clear()
        self.ends.clear()
        self.ends.update(begin)
        self.run()

    def _stretch(self, ends: Mapping[int, int] | None = None) -> Stretch:
        """Return what to walk. Where the walk may leap, times are left to PostgreSQL: finding them takes long."""
        asked = scan_range_of(self.chosen.selection)
        ends = dict(self.ends if ends is None else ends)
        stretch = replace(asked, partitions=asked.partitions or self.queue.partitions, ends=ends)
        return replace(stretch, since=None, until=None) if self.may_leap else stretch

    def _should_leap(self, chunk: Sequence[DeadLetterRecord]) -> bool:
        """Whether matches are rare, and PostgreSQL knows each of the letters here: those of others have no row."""
        since = self.chosen.selection.since
        over = since is not None and self.last is not None and self.last.failed_at < since
        rare = over or len(self.found) * RARE <= self.looked_at
        if not self.may_leap or not rare or len(self.found) == self.size or self.looked_at < LEAP_AFTER:
            return False
        here = [letter.id for letter in chunk[-_FIRST_CHUNK:]]
        self.may_leap = self.queue.ledger is not None and len(self.queue.ledger.of(here)) == len({*here})
        return self.may_leap

    def _look_at(self, chunk: Sequence[DeadLetterRecord]) -> None:
        visible = {letter.record_id: state for letter, state in self._visible(chunk)}
        for letter in chunk:
            self.ends[letter.record.partition] = letter.record.offset
            self.looked_at += 1
            self.last = letter
            self.may_leap &= letter.last_failed_at is not None
            if letter.record_id in visible:
                self.found.append((letter, visible[letter.record_id]))
                if len(self.found) == self.size:
                    break

    def _visible(self, chunk: Iterable[DeadLetterRecord]) -> Iterator[Found]:
        selection = self.chosen.selection
        letters = map(self.queue.whole, chunk) if selection.where else chunk
        matching = [letter for letter in letters if selection.matches(letter)]
        return self.queue.with_states(matching, resolved_too=self.chosen.resolved_too)
