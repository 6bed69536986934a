"""A ledger and an producer in memory, with a place to be killed at every step between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from keepstream.schemas.replay import (
    REPLAY_ID,
    REPLAY_OF,
    DeliveryReport,
    Reconciliation,
    ReplayRecord,
    ReplayRun,
    ReplayState,
    TopicEnds,
)


class Killed(BaseException):
    """Nothing after this point happened."""


@dataclass
class Entry:
    state: ReplayState
    seen_in_pass: int


@dataclass
class MemoryLedger:
    """`keepstream.processors.replay.replay.ReplayLedger`; ``die`` is asked at every edge and may raise Killed."""

    die: Callable[[str], None] = lambda _edge: None
    entries: dict[str, Entry] = field(default_factory=dict)
    planned: set[str] = field(default_factory=set)
    resolved: set[str] = field(default_factory=set)
    ends: TopicEnds = field(default_factory=dict)

    def unresolved(self, run: ReplayRun, letter_ids: Sequence[str]) -> list[str]:
        return [letter_id for letter_id in letter_ids if self._is_open(run, letter_id)]

    def _is_open(self, run: ReplayRun, letter_id: str) -> bool:
        mine = self.entries.get(letter_id)
        return letter_id not in self.resolved if mine is None else mine.seen_in_pass != run.pass_number

    def plan(self, run: ReplayRun, letter_ids: Sequence[str], ends: TopicEnds) -> dict[str, ReplayState]:
        self.die("before plan")
        self.ends = {**ends, **self.ends} if self.planned else ends
        states = {}
        for letter_id in letter_ids:
            entry = self.entries.get(letter_id)
            states[letter_id] = entry.state if entry else ReplayState.PLANNED
            if entry:
                entry.seen_in_pass = run.pass_number
            if states[letter_id] in {ReplayState.PLANNED, ReplayState.FAILED}:
                self.planned.add(letter_id)
        self.die("after plan")
        return states

    def uncertain(self, run: ReplayRun) -> tuple[set[str], TopicEnds]:
        return set(self.planned), self.ends

    def record(self, run: ReplayRun, sent: Sequence[DeliveryReport]) -> None:
        self.die("before record")
        for one in sent:
            entry = self.entries.setdefault(one.dead_letter_id, Entry(one.state, run.pass_number))
            entry.state = one.state
            self.planned.discard(one.dead_letter_id)
        self.die("after record")

    def edited(self, run: ReplayRun) -> Mapping[str, bytes]:
        return {}

    def reconcile(self, run: ReplayRun) -> Reconciliation:
        now = [entry.state for entry in self.entries.values() if entry.seen_in_pass == run.pass_number]
        return Reconciliation(
            replayed=now.count(ReplayState.PRODUCED),
            skipped=now.count(ReplayState.PARKED),
            failed=now.count(ReplayState.FAILED),
        )


@dataclass
class MemoryReplayProducer:
    """`ReplayProducer`: one partition per topic; each record sent takes an edge of its own."""

    die: Callable[[str], None] = lambda _edge: None
    topics: dict[str, list[ReplayRecord]] = field(default_factory=dict)
    refuse: Callable[[ReplayRecord], bool] = lambda _letter: False
    answered: list[DeliveryReport] = field(default_factory=list)

    def ends(self, topics: Iterable[str]) -> TopicEnds:
        return {topic: {0: len(self.topics.get(topic, ()))} for topic in topics}

    def produce(self, letters: Sequence[ReplayRecord]) -> None:
        for letter in letters:
            self.die("before send")
            if self.refuse(letter):
                self.answered.append(DeliveryReport(letter.dead_letter_id, letter.topic, None, None, "refused"))
                continue
            log = self.topics.setdefault(letter.topic, [])
            log.append(letter)
            self.answered.append(
                DeliveryReport(letter.dead_letter_id, letter.topic, 0, len(log) - 1, parked=letter.parks)
            )
        self.die("after send")

    def delivery_reports(self) -> list[DeliveryReport]:
        answers, self.answered = self.answered, []
        return answers

    def find(self, replay_id: int, letter_ids: set[str], since: TopicEnds) -> list[DeliveryReport]:
        found = []
        for topic, starts in since.items():
            for offset, letter in enumerate(self.topics.get(topic, ())):
                headers = dict(letter.headers)
                of = (headers[REPLAY_OF] or b"").decode()
                if offset >= starts[0] and headers[REPLAY_ID] == str(replay_id).encode() and of in letter_ids:
                    found.append(DeliveryReport(of, topic, 0, offset, parked=letter.parks))
        return found
