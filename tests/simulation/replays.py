"""A replay of the dead letters of a world: killed and resumed until it is through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from keepstream.processors.replay.replay import Replay
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import KafkaRecord
from keepstream.schemas.replay import DeliveryReport, ReplayRecord, ReplayRun
from tests.replay_fakes import Killed, MemoryLedger, MemoryReplayProducer
from tests.simulation.faults import Fault, Faults
from tests.simulation.invariants import require

MAX_KILLS = 12
MAX_PASSES = 100


@dataclass
class ForgetfulProducer(MemoryReplayProducer):
    """Loses confirmations: what went out is reported as failed."""

    faults: Faults = field(kw_only=True)
    lost: Counter[str] = field(default_factory=Counter)

    def delivery_reports(self) -> list[DeliveryReport]:
        return [self._perhaps_lost(sent) for sent in super().delivery_reports()]

    def _perhaps_lost(self, sent: DeliveryReport) -> DeliveryReport:
        if not self.faults.strikes(Fault.CONFIRMATION_LOST):
            return sent
        self.lost[sent.dead_letter_id] += 1
        return DeliveryReport(sent.dead_letter_id, sent.topic, None, None, "timed out")


def replay_all(published: Sequence[KafkaRecord], topic: str, faults: Faults) -> list[ReplayRecord]:
    """Replay every letter of a topic, through kills and lost confirmations; return what went out. Raises Violation."""
    kills = iter(range(MAX_KILLS))

    def die(_edge: str) -> None:
        if faults.strikes(Fault.REPLAY_KILLED) and next(kills, None) is not None:
            raise Killed

    ledger, topics, lost = MemoryLedger(die), dict[str, list[ReplayRecord]](), Counter[str]()
    there = [replace(record, topic=f"{topic}-dlq", partition=0, offset=n) for n, record in enumerate(published)]
    letters = [*map(DeadLetterRecord, there)]
    for number in range(1, MAX_PASSES):
        producer = ForgetfulProducer(die, topics, faults=faults, lost=lost)
        try:
            result = Replay(ReplayRun(1, number, {0: len(letters)}), ledger, producer).execute(letters)
        except Killed:
            continue
        require(result.adds_up, "C", f"the sums of the replay are wrong: {result}")
        if not result.failed:
            break
    else:
        require(False, "R", "the replay never comes to its end")
    require(topics.keys() <= {topic}, "T", f"letters of {topic} went out to {[*topics]}")
    sent = [letter for log in topics.values() for letter in log]
    _check_once(letters, sent, lost)
    return sent


def _check_once(letters: Sequence[DeadLetterRecord], sent: Sequence[ReplayRecord], lost: Counter[str]) -> None:
    times = Counter(letter.dead_letter_id for letter in sent)
    for letter in letters:
        most = 1 + lost[letter.id]
        require(1 <= times[letter.id] <= most, "D", f"{letter.id} went out {times[letter.id]} times, at most {most}")
