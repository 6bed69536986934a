"""Replaying dead letters: each goes out once, however often the run is killed and resumed.

Letters are worked in chunks. A chunk is planned in the ledger, produced, and recorded as produced once the broker has
confirmed it. A run that was killed in between leaves planned letters of which nobody knows whether they went out: the
resume looks for them in the target topics, from where those ended when the letters were planned.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from processors.redress import ChangeError, outgoing_of
from schemas.replay import LetterState, Outgoing, Sent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from schemas.buried import Buried
    from schemas.replay import Reconciliation, ReplayRun

CHUNK = 1000
TopicEnds = dict[str, dict[int, int]]


class ReplayLedger(Protocol):
    """What is remembered about a replay. Raises when it cannot remember: then nothing is produced."""

    def open_ones(self, run: ReplayRun, letters: Sequence[Buried]) -> list[Buried]:
        """Leave out letters that are resolved already, unless this very run is working on them."""
        ...

    def plan(self, run: ReplayRun, letters: Sequence[Buried], ends: TopicEnds) -> dict[str, LetterState]:
        """Remember that these will be produced; return the state of each that this pass had not seen before."""
        ...

    def uncertain(self, run: ReplayRun) -> tuple[set[str], TopicEnds]:
        """Return the letters that an earlier pass planned and did not record, and where the targets ended then."""
        ...

    def record(self, run: ReplayRun, sent: Sequence[Sent]) -> None: ...
    def edited(self, run: ReplayRun, letter_ids: Sequence[str]) -> Mapping[str, bytes]: ...
    def reconcile(self, run: ReplayRun) -> Reconciliation: ...


class Outbox(Protocol):
    """Where letters go."""

    def ends(self, topics: Iterable[str]) -> TopicEnds:
        """Return where these topics end now."""
        ...

    def send(self, letters: Sequence[Outgoing]) -> list[Sent]:
        """Produce, and return once the broker has answered about every one."""
        ...

    def find(self, replay_id: int, letter_ids: set[str], since: TopicEnds) -> list[Sent]:
        """Look for letters of a replay that went out after these offsets."""
        ...


@dataclass(slots=True)
class Replay:
    """One run, or the resumption of one. ``letters`` are the matching ones, oldest first, bounded by the run's ends.

    ``progress`` is told how many letters were worked; ``stop`` is asked between chunks.
    """

    run: ReplayRun
    ledger: ReplayLedger
    outbox: Outbox
    progress: Callable[[int], None] = lambda _worked: None
    stop: Callable[[], bool] = lambda: False
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    selected: int = 0
    _paced_from: float | None = field(default=None)
    _sent: int = 0

    def work(self, letters: Iterable[Buried]) -> Reconciliation:
        """Replay them all, or until told to stop. The sums are right either way, for what was worked."""
        self._settle_uncertain()
        for chunk in self._chunks(letters):
            self._work_chunk(chunk)
            self.progress(self.selected)
            if self.stop():
                break
        result = self.ledger.reconcile(self.run)
        result.selected = self.selected
        return result

    def _chunks(self, letters: Iterable[Buried]) -> Iterator[list[Buried]]:
        """Cut into chunks of unresolved letters, up to the limit."""
        rate, limit = self.run.options.rate, self.run.options.limit
        size = CHUNK if rate is None else max(1, min(CHUNK, int(rate / 5)))
        for distinct in distinct_chunks(letters, size):
            chunk = self.ledger.open_ones(self.run, distinct)
            if limit is not None:
                chunk = chunk[: max(0, limit - self.selected)]
            if chunk:
                yield chunk
            if limit is not None and self.selected >= limit:
                return

    def _work_chunk(self, chunk: Sequence[Buried]) -> None:
        out = self._dressed(chunk)
        topics = {letter.topic for letter in out.values() if isinstance(letter, Outgoing)}
        states = self.ledger.plan(self.run, chunk, self.outbox.ends(topics))
        self.selected += len(states)
        due = [out[i] for i, state in states.items() if state in (LetterState.PLANNED, LetterState.FAILED)]
        going = [letter for letter in due if isinstance(letter, Outgoing)]
        refused = [letter for letter in due if isinstance(letter, Sent)]
        self.ledger.record(self.run, [*refused, *(self.outbox.send(going) if going else ())])
        self._pace(len(going))

    def _dressed(self, chunk: Sequence[Buried]) -> dict[str, Outgoing | Sent]:
        """Build what goes out; a letter that cannot be changed as asked has failed before it was sent."""
        edited = self.ledger.edited(self.run, [letter.id for letter in chunk])
        out: dict[str, Outgoing | Sent] = {}
        for letter in chunk:
            try:
                out[letter.id] = outgoing_of(letter, self.run, edited.get(letter.id))
            except ChangeError as error:
                out[letter.id] = Sent(letter.id, letter.record.topic, None, None, str(error))
        return out

    def _settle_uncertain(self) -> None:
        uncertain, since = self.ledger.uncertain(self.run)
        if uncertain:
            self.ledger.record(self.run, self.outbox.find(self.run.id, uncertain, since))

    def _pace(self, count: int) -> None:
        """Keep the rate on an open schedule: a slow chunk is caught up with, never more."""
        if self.run.options.rate is None:
            return
        now = self.clock()
        self._paced_from = now if self._paced_from is None else self._paced_from
        self._sent += count
        early_s = self._paced_from + self._sent / self.run.options.rate - now
        if early_s > 0:
            self.sleep(early_s)


def distinct_chunks(letters: Iterable[Buried], size: int) -> Iterator[list[Buried]]:
    """Cut letters into lists in which no death stands twice."""
    source = iter(letters)
    while batch := list(itertools.islice(source, size)):
        first: dict[str, Buried] = {}
        for letter in batch:
            first.setdefault(letter.id, letter)
        yield [*first.values()]
