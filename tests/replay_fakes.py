"""A ledger and an outbox in memory, with a place to be killed at every step between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schemas.replay import REPLAY_ID, REPLAY_OF, LetterState, Outgoing, Reconciliation, ReplayRun, Sent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from processors.replay import TopicEnds
    from schemas.buried import Buried


class Killed(BaseException):
    """Nothing after this point happened."""


@dataclass
class Entry:
    state: LetterState
    seen_in_pass: int


@dataclass
class MemoryLedger:
    """`processors.replay.ReplayLedger`; ``die`` is asked at every edge and may raise Killed."""

    die: Callable[[str], None] = lambda _edge: None
    entries: dict[str, Entry] = field(default_factory=dict)
    resolved: set[str] = field(default_factory=set)
    ends: TopicEnds = field(default_factory=dict)

    def open_ones(self, run: ReplayRun, letters: Sequence[Buried]) -> list[Buried]:
        return [one for one in letters if one.id not in self.resolved or one.id in self.entries]

    def plan(self, run: ReplayRun, letters: Sequence[Buried], ends: TopicEnds) -> dict[str, LetterState]:
        self.die("before plan")
        self.ends = ends
        fresh = {}
        for letter in letters:
            entry = self.entries.setdefault(letter.id, Entry(LetterState.PLANNED, 0))
            if entry.seen_in_pass != run.pass_number:
                entry.seen_in_pass = run.pass_number
                fresh[letter.id] = entry.state
        self.die("after plan")
        return fresh

    def uncertain(self, run: ReplayRun) -> tuple[set[str], TopicEnds]:
        planned = {
            letter_id
            for letter_id, entry in self.entries.items()
            if entry.state is LetterState.PLANNED and entry.seen_in_pass < run.pass_number
        }
        return planned, self.ends

    def record(self, run: ReplayRun, sent: Sequence[Sent]) -> None:
        self.die("before record")
        for one in sent:
            self.entries[one.letter_id].state = one.state
        self.die("after record")

    def edited(self, run: ReplayRun, letter_ids: Sequence[str]) -> Mapping[str, bytes]:
        return {}

    def reconcile(self, run: ReplayRun) -> Reconciliation:
        now = [entry.state for entry in self.entries.values() if entry.seen_in_pass == run.pass_number]
        return Reconciliation(
            replayed=now.count(LetterState.PRODUCED),
            skipped=now.count(LetterState.PARKED),
            failed=now.count(LetterState.FAILED),
        )


@dataclass
class MemoryOutbox:
    """`processors.replay.Outbox`: one partition per topic; each record sent takes an edge of its own."""

    die: Callable[[str], None] = lambda _edge: None
    topics: dict[str, list[Outgoing]] = field(default_factory=dict)
    refuse: Callable[[Outgoing], bool] = lambda _letter: False

    def ends(self, topics: Iterable[str]) -> TopicEnds:
        return {topic: {0: len(self.topics.get(topic, ()))} for topic in topics}

    def send(self, letters: Sequence[Outgoing]) -> list[Sent]:
        answers = []
        for letter in letters:
            self.die("before send")
            if self.refuse(letter):
                answers.append(Sent(letter.letter_id, letter.topic, None, None, "refused"))
                continue
            log = self.topics.setdefault(letter.topic, [])
            log.append(letter)
            answers.append(Sent(letter.letter_id, letter.topic, 0, len(log) - 1, parked=letter.parks))
        self.die("after send")
        return answers

    def find(self, replay_id: int, letter_ids: set[str], since: TopicEnds) -> list[Sent]:
        found = []
        for topic, starts in since.items():
            for offset, letter in enumerate(self.topics.get(topic, ())):
                headers = dict(letter.headers)
                of = (headers[REPLAY_OF] or b"").decode()
                if offset >= starts[0] and headers[REPLAY_ID] == str(replay_id).encode() and of in letter_ids:
                    found.append(Sent(of, topic, 0, offset, parked=letter.parks))
        return found
