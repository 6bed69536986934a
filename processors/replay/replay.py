"""Replaying dead letters: each goes out once, however often the run is killed and resumed.

Letters are worked in chunks. A chunk is planned in the ledger, posted, and recorded as produced once the broker has
confirmed it; meanwhile the next one is read, dressed and planned. A run that was killed in between leaves planned
letters of which nobody knows whether they went out: the resume looks for them in the target topics, from where those
ended when the letters were planned.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias, TypeVar

from keepstream.processors.replay.outgoing import ChangeError, build_replay_record
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.replay import DeliveryReport, Reconciliation, ReplayRecord, ReplayRun, ReplayState, TopicEnds

CHUNK = 2000
Dressed: TypeAlias = ReplayRecord | DeliveryReport
"""A letter as it goes out; Sent where it has failed before it could."""
T = TypeVar("T")


class ReplayLedger(Protocol):
    """What is remembered about a replay. Raises when it cannot remember: then nothing is produced."""

    def open_ones(self, run: ReplayRun, letter_ids: Sequence[str]) -> list[str]:
        """Leave out letters that this pass has worked, and those that are resolved or held by another run.

        What an earlier pass of this very run did with a letter does not make it resolved.
        """
        ...

    def plan(self, run: ReplayRun, letter_ids: Sequence[str], ends: TopicEnds) -> dict[str, ReplayState]:
        """Remember, beside what is planned already, that these will be produced and where their topics end now.

        Return the state in which earlier passes left each, else ``planned``.
        """
        ...

    def uncertain(self, run: ReplayRun) -> tuple[set[str], TopicEnds]:
        """Return the letters that were planned and not recorded, and where the targets ended before."""
        ...

    def record(self, run: ReplayRun, sent: Sequence[DeliveryReport]) -> None:
        """Remember what the broker said in this pass: these letters are no longer uncertain."""
        ...

    def edited(self, run: ReplayRun) -> Mapping[str, bytes]:
        """Return the values that were edited before the run, by letter."""
        ...

    def reconcile(self, run: ReplayRun) -> Reconciliation: ...


class ReplayProducer(Protocol):
    """Where letters go."""

    def ends(self, topics: Iterable[str]) -> TopicEnds:
        """Return where these topics end now."""
        ...

    def post(self, letters: Sequence[ReplayRecord]) -> None:
        """Hand over to the producer."""
        ...

    def answers(self) -> list[DeliveryReport]:
        """Return once the broker has answered about every letter posted since the last call."""
        ...

    def find(self, replay_id: int, letter_ids: set[str], since: TopicEnds) -> list[DeliveryReport]:
        """Look for letters of a replay that went out after these offsets."""
        ...


@dataclass(slots=True)
class Replay:
    """One run, or the resumption of one. ``letters`` are the matching ones, oldest first, bounded by the run's ends.

    ``progress`` is told how many letters were worked; ``stop`` is asked between chunks; ``ahead`` may dress letters
    before they are asked for.
    """

    run: ReplayRun
    ledger: ReplayLedger
    outbox: ReplayProducer
    progress: Callable[[int], None] = lambda _worked: None
    stop: Callable[[], bool] = lambda: False
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    ahead: Callable[[Generator[Dressed]], AbstractContextManager[Iterator[Dressed]]] = nullcontext
    selected: int = 0
    _paced_from: float | None = field(default=None)
    _sent: int = 0
    _ends: TopicEnds = field(default_factory=dict)
    """Asked once: letters wait at any time, and of the topics of what waits the earliest ends count."""
    _under_way: frozenset[str] = frozenset()
    _refused: list[DeliveryReport] = field(default_factory=list)

    def work(self, letters: Iterable[DeadLetterRecord]) -> Reconciliation:
        """Replay them all, or until told to stop. The sums are right either way, for what was worked."""
        self._settle_uncertain()
        with self.ahead(self._dressed(letters, self.ledger.edited(self.run))) as dressed:
            for chunk in self._chunks(dressed):
                self._work_chunk(chunk)
                self.progress(self.selected)
                if self.stop():
                    break
        self._finish_chunk()
        result = self.ledger.reconcile(self.run)
        result.selected = self.selected
        return result

    def _chunks(self, dressed: Iterable[Dressed]) -> Iterator[dict[str, Dressed]]:
        """Cut into chunks of unresolved letters, up to the limit."""
        rate, limit = self.run.options.rate, self.run.options.limit
        size = CHUNK if rate is None else max(1, min(CHUNK, int(rate / 5)))
        for distinct in distinct_chunks(dressed, size, lambda one: one.dead_letter_id):
            # The ledger does not know yet about the chunk whose answers are waited for.
            open_ones = self.ledger.open_ones(self.run, [i for i in distinct if i not in self._under_way])
            if limit is not None:
                open_ones = open_ones[: max(0, limit - self.selected)]
            if open_ones:
                yield {letter_id: distinct[letter_id] for letter_id in open_ones}
            if limit is not None and self.selected >= limit:
                return

    def _work_chunk(self, chunk: Mapping[str, Dressed]) -> None:
        """Plan a chunk while the broker works on the one before, then let it follow."""
        topics = {letter.topic for letter in chunk.values() if isinstance(letter, ReplayRecord)}
        if new := topics - self._ends.keys():
            self._ends |= self.outbox.ends(new)
        states = self.ledger.plan(self.run, [*chunk], {topic: self._ends[topic] for topic in topics})
        self._finish_chunk()
        self.selected += len(states)
        due = [chunk[i] for i, state in states.items() if state in (ReplayState.PLANNED, ReplayState.FAILED)]
        self._refused = [letter for letter in due if isinstance(letter, DeliveryReport)]
        going = [letter for letter in due if isinstance(letter, ReplayRecord)]
        self._under_way = frozenset(states)
        self.outbox.post(going)
        self._pace(len(going))

    def _finish_chunk(self) -> None:
        """Wait for the broker and record what it said."""
        if self._under_way:
            self.ledger.record(self.run, [*self._refused, *self.outbox.answers()])
            self._under_way, self._refused = frozenset(), []

    def _dressed(self, letters: Iterable[DeadLetterRecord], edited: Mapping[str, bytes]) -> Generator[Dressed]:
        """Build what goes out; a letter that cannot be changed as asked has failed before it was sent."""
        for letter in letters:
            try:
                yield build_replay_record(letter, self.run, edited.get(letter.id))
            except ChangeError as error:
                yield DeliveryReport(letter.id, letter.record.topic, None, None, str(error))

    def _settle_uncertain(self) -> None:
        uncertain, since = self.ledger.uncertain(self.run)
        if uncertain:
            killed = replace(self.run, pass_number=self.run.pass_number - 1)
            self.ledger.record(killed, self.outbox.find(self.run.id, uncertain, since))

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


def distinct_chunks(letters: Iterable[T], size: int, name_of: Callable[[T], str]) -> Iterator[dict[str, T]]:
    """Cut letters into chunks, by name, in which no death stands twice: the first counts."""
    source = iter(letters)
    while batch := list(itertools.islice(source, size)):
        chunk: dict[str, T] = {}
        for letter in batch:
            chunk.setdefault(name_of(letter), letter)
        yield chunk
