"""Replaying dead letters: each is produced once, however often the run is killed and resumed.

A replay works in chunks. A chunk is planned in the ledger, produced, and recorded once the broker has confirmed it;
meanwhile the next one is read, built and planned. A run that was killed in between leaves planned dead letters that may
or may not have been produced: the resume looks for them in the target topics, from their ends at the time of the plan.
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
Built: TypeAlias = ReplayRecord | DeliveryReport
"""The record to produce for a dead letter, or the report of one that cannot be built."""
T = TypeVar("T")


class ReplayLedger(Protocol):
    """Stores the progress of replays. Its methods raise when they cannot store it, and then nothing is produced."""

    def unresolved(self, run: ReplayRun, dead_letter_ids: Sequence[str]) -> list[str]:
        """Return those that are not resolved, not planned by another run and not yet seen by this pass.

        What an earlier pass of this very run did with a dead letter does not make it resolved.
        """
        ...

    def plan(self, run: ReplayRun, dead_letter_ids: Sequence[str], ends: TopicEnds) -> dict[str, ReplayState]:
        """Store, beside what is planned already, that these will be produced, and where their topics end now.

        Return the state in which earlier passes left each, else ``planned``.
        """
        ...

    def uncertain(self, run: ReplayRun) -> tuple[set[str], TopicEnds]:
        """Return the dead letters that were planned and not recorded, and where the targets ended before."""
        ...

    def record(self, run: ReplayRun, sent: Sequence[DeliveryReport]) -> None:
        """Store delivery reports of this pass: these dead letters are no longer uncertain."""
        ...

    def edited(self, run: ReplayRun) -> Mapping[str, bytes]:
        """Return the values that were edited before the run, by dead letter."""
        ...

    def reconcile(self, run: ReplayRun) -> Reconciliation: ...


class ReplayProducer(Protocol):
    """Produces replayed records."""

    def ends(self, topics: Iterable[str]) -> TopicEnds:
        """Return where these topics end now."""
        ...

    def produce(self, dead_letters: Sequence[ReplayRecord]) -> None:
        """Enqueue records."""
        ...

    def delivery_reports(self) -> list[DeliveryReport]:
        """Wait for the reports of all records enqueued since the last call."""
        ...

    def find(self, replay_id: int, dead_letter_ids: set[str], since: TopicEnds) -> list[DeliveryReport]:
        """Find the records that a replay produced after these offsets."""
        ...


@dataclass(slots=True)
class Replay:
    """One pass of a replay, over the matching dead letters: oldest first, up to the ends in the run.

    ``progress`` gets the number of dead letters done so far; ``stop`` is called between chunks; ``prefetch`` may build
    records ahead.
    """

    run: ReplayRun
    ledger: ReplayLedger
    producer: ReplayProducer
    progress: Callable[[int], None] = lambda _worked: None
    stop: Callable[[], bool] = lambda: False
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    prefetch: Callable[[Generator[Built]], AbstractContextManager[Iterator[Built]]] = nullcontext
    selected: int = 0
    _paced_from: float | None = field(default=None)
    _sent: int = 0
    _ends: TopicEnds = field(default_factory=dict)
    """Asked once per topic: of the records in flight the earliest ends count."""
    _in_flight: frozenset[str] = frozenset()
    _refused: list[DeliveryReport] = field(default_factory=list)

    def execute(self, dead_letters: Iterable[DeadLetterRecord]) -> Reconciliation:
        """Replay all, or until ``stop`` returns True. Returns the totals of what was replayed in either case."""
        self._settle_uncertain()
        with self.prefetch(self._build(dead_letters, self.ledger.edited(self.run))) as built:
            for chunk in self._chunks(built):
                self._work_chunk(chunk)
                self.progress(self.selected)
                if self.stop():
                    break
        self._finish_chunk()
        result = self.ledger.reconcile(self.run)
        result.selected = self.selected
        return result

    def _chunks(self, built: Iterable[Built]) -> Iterator[dict[str, Built]]:
        """Cut into chunks of unresolved dead letters, up to the limit."""
        rate, limit = self.run.options.rate, self.run.options.limit
        size = CHUNK if rate is None else max(1, min(CHUNK, int(rate / 5)))
        for distinct in distinct_chunks(built, size, lambda one: one.dead_letter_id):
            # The ledger does not know yet about the chunk in flight.
            unresolved = self.ledger.unresolved(self.run, [i for i in distinct if i not in self._in_flight])
            if limit is not None:
                unresolved = unresolved[: max(0, limit - self.selected)]
            if unresolved:
                yield {name: distinct[name] for name in unresolved}
            if limit is not None and self.selected >= limit:
                return

    def _work_chunk(self, chunk: Mapping[str, Built]) -> None:
        """Plan a chunk while the one before is in flight, then produce it."""
        topics = {dead_letter.topic for dead_letter in chunk.values() if isinstance(dead_letter, ReplayRecord)}
        if new := topics - self._ends.keys():
            self._ends |= self.producer.ends(new)
        states = self.ledger.plan(self.run, [*chunk], {topic: self._ends[topic] for topic in topics})
        self._finish_chunk()
        self.selected += len(states)
        due = [chunk[i] for i, state in states.items() if state in (ReplayState.PLANNED, ReplayState.FAILED)]
        self._refused = [dead_letter for dead_letter in due if isinstance(dead_letter, DeliveryReport)]
        going = [dead_letter for dead_letter in due if isinstance(dead_letter, ReplayRecord)]
        self._in_flight = frozenset(states)
        self.producer.produce(going)
        self._pace(len(going))

    def _finish_chunk(self) -> None:
        """Wait for the delivery reports and record them."""
        if self._in_flight:
            self.ledger.record(self.run, [*self._refused, *self.producer.delivery_reports()])
            self._in_flight, self._refused = frozenset(), []

    def _build(self, dead_letters: Iterable[DeadLetterRecord], edited: Mapping[str, bytes]) -> Generator[Built]:
        """Build records; a dead letter that cannot be changed as asked fails before it is produced."""
        for dead_letter in dead_letters:
            try:
                yield build_replay_record(dead_letter, self.run, edited.get(dead_letter.id))
            except ChangeError as error:
                yield DeliveryReport(dead_letter.id, dead_letter.record.topic, None, None, str(error))

    def _settle_uncertain(self) -> None:
        uncertain, since = self.ledger.uncertain(self.run)
        if uncertain:
            killed = replace(self.run, pass_number=self.run.pass_number - 1)
            self.ledger.record(killed, self.producer.find(self.run.id, uncertain, since))

    def _pace(self, count: int) -> None:
        """Sleep to keep the rate on average: after a slow chunk it catches up."""
        if self.run.options.rate is None:
            return
        now = self.clock()
        self._paced_from = now if self._paced_from is None else self._paced_from
        self._sent += count
        early_s = self._paced_from + self._sent / self.run.options.rate - now
        if early_s > 0:
            self.sleep(early_s)


def distinct_chunks(dead_letters: Iterable[T], size: int, name_of: Callable[[T], str]) -> Iterator[dict[str, T]]:
    """Split dead letters into chunks by name, without copies: the first counts."""
    source = iter(dead_letters)
    while batch := list(itertools.islice(source, size)):
        chunk: dict[str, T] = {}
        for dead_letter in batch:
            chunk.setdefault(name_of(dead_letter), dead_letter)
        yield chunk
