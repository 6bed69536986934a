"""One page of dead letters, newest first, in bounded time: whoever waits for a page does not wait for a topic."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

from app.stretch import stretch_of
from sinks.dead_letter_reader import newest_first
from sinks.dead_letter_times import SLACK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from app.letters import Found, Queue
    from app.selectors import Chosen
    from schemas.buried import Buried
    from sinks.dead_letter_reader import Stretch

BUDGET_S = 1.0
"""How long a page may look for what matches, before it shows what it has and where to go on."""
_JUMP_AFTER = 700
"""So many letters are passed before PostgreSQL is asked whether the next match is far."""
_SLACK_LETTERS = 5000
"""So many are passed after a jump, whatever the budget: a jump ends `SLACK` behind what it leads to."""
_FIRST_CHUNK, _MAX_CHUNK = 50, 2000


@dataclass(frozen=True, slots=True)
class Page:
    """``ends``: partition -> offset before which the next page begins. ``exhausted``: there is no next page."""

    found: Sequence[Found]
    ends: Mapping[int, int]
    exhausted: bool
    looked_at: int
    back_to: datetime | None
    """When the last letter that was looked at died."""


def page_of(
    queue: Queue, chosen: Chosen, size: int, ends: Mapping[int, int] | None = None, budget_s: float = BUDGET_S
) -> Page:
    """Return the next ``size`` letters before ``ends``, or fewer when the budget was used up."""
    walk = _Walk(queue, chosen, size, dict(ends or {}), time.monotonic() + budget_s)
    walk.run()
    return Page(walk.found, walk.ends, walk.exhausted, walk.looked_at, walk.back_to)


@dataclass(slots=True)
class _Walk:
    queue: Queue
    chosen: Chosen
    size: int
    ends: dict[int, int]
    deadline: float
    found: list[Found] = field(default_factory=list)
    exhausted: bool = False
    looked_at: int = 0
    back_to: datetime | None = None
    _all_ours: bool = True

    def run(self) -> None:
        """Walk; where matches are far between, jump to the next one that PostgreSQL knows of, and walk on there."""
        asked = stretch_of(self.chosen.selection)
        stretch: Stretch | None = replace(asked, partitions=asked.partitions or self.queue.partitions, ends=self.ends)
        if stretch and not self.ends and (died_at := self._named_death()):
            stretch = _before(stretch, died_at)
        while stretch is not None:
            stretch = self._stretch_after(stretch)

    def _stretch_after(self, stretch: Stretch) -> Stretch | None:
        """Walk one stretch; return where to walk on after a jump, None when this was the last."""
        passed, size = 0, max(self.size, _FIRST_CHUNK)
        with closing(newest_first(self.queue.client, self.queue.topic, stretch)) as letters:
            while chunk := list(islice(letters, size)):
                passed += self._look_at(chunk)
                size = min(size * 2, _MAX_CHUNK)
                late = time.monotonic() > self.deadline and (not stretch.until or passed > _SLACK_LETTERS or self.found)
                if len(self.found) == self.size or late:
                    return None
                if passed >= _JUMP_AFTER and (jump := self._jump(stretch)):
                    return jump
        self.exhausted = True
        return None

    def _look_at(self, chunk: Sequence[Buried]) -> int:
        visible = {letter.place: state for letter, state in self._visible(chunk)}
        for letter in chunk:
            self.ends[letter.record.partition] = letter.record.offset
            self.looked_at += 1
            self.back_to = letter.failed_at
            self._all_ours &= letter.last_failed_at is not None
            if letter.place in visible:
                self.found.append((letter, visible[letter.place]))
                if len(self.found) == self.size:
                    break
        return len(chunk)

    def _visible(self, chunk: Iterable[Buried]) -> Iterator[Found]:
        selection = self.chosen.selection
        letters = map(self.queue.whole, chunk) if selection.where else chunk
        matching = [letter for letter in letters if selection.matches(letter)]
        return self.queue.with_states(matching, resolved_too=self.chosen.resolved_too)

    def _jump(self, stretch: Stretch) -> Stretch | None:
        """Return a stretch that begins at the next match, where that is far away; letters of others have no row."""
        ledger, selection = self.queue.ledger, self.chosen.selection
        if ledger is None or self.back_to is None or not self._all_ours:
            return None
        given = {name: getattr(selection, name) for name in ("event_ids", "steps", "reasons", "verdicts", "sqlstates")}
        died_at = ledger.last_death(self.back_to, given, resolved_too=self.chosen.resolved_too)
        if died_at is None or self.back_to - died_at < 2 * SLACK:
            return None
        return _before(replace(stretch, ends=self.ends), died_at)

    def _named_death(self) -> datetime | None:
        """Return when the last of those died that are asked for by name, as far as PostgreSQL knows."""
        ledger, names = self.queue.ledger, (*self.chosen.selection.ids, *self.chosen.selection.event_ids)
        deaths = [died_at for name in names if ledger and (died_at := ledger.died_at(name))]
        return max(deaths) if deaths and len(deaths) == len(names) else None


def _before(stretch: Stretch, moment: datetime) -> Stretch:
    until = moment + timedelta(seconds=1)
    return replace(stretch, until=min(until, stretch.until) if stretch.until else until)
