"""From one rare dead letter to the next: PostgreSQL names them, the topic holds them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from keepstream.app.dlq.lookup_by_offset import places_of
from keepstream.sinks.postgres.dead_letters import Death

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keepstream.app.dlq.lookup_by_offset import Places
    from keepstream.app.dlq.selectors import Chosen
    from keepstream.app.dlq.topic import Found, Queue
    from keepstream.schemas.dead_letter_record import Buried

_CHUNK = 50
NEWEST = Death(datetime.max.replace(tzinfo=UTC), "")
"""All died before this."""


@dataclass(slots=True)
class Leap:
    """Fills up ``found`` with letters older than what was walked, whose offsets are ``ends`` and beyond."""

    queue: Queue
    chosen: Chosen
    size: int
    found: list[Found]
    ends: Mapping[int, int]
    deadline: float
    before: Death | None = None
    """All that PostgreSQL knows was looked up down to here."""
    known_end: bool = False
    looked_at: int = 0
    missing: int = 0
    back_to: datetime | None = None

    def run(self, before: Death | None) -> None:
        """Go on behind a death, or begin with the newest: a walk need not have met it. Raises `NoPlaceError`."""
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

    def _next_deaths(self) -> list[Death]:
        ledger, selection = self.queue.ledger, self.chosen.selection
        assert ledger is not None  # noqa: S101 - without it nobody leaps
        assert self.before is not None  # noqa: S101 - the same
        return ledger.deaths(asdict(selection), self.before, _CHUNK, resolved_too=self.chosen.resolved_too)

    def _full(self) -> bool:
        return len(self.found) >= self.size or time.monotonic() > self.deadline

    def _is_new(self, letter: Buried) -> bool:
        """Whether the walk did not pass it."""
        partition, offset = letter.record.partition, letter.record.offset
        return offset < self.ends.get(partition, offset + 1)

    def _matches(self, letter: Buried) -> bool:
        selection = self.chosen.selection
        return selection.matches(self.queue.whole(letter) if selection.where else letter)
