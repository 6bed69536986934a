"""The dead letter limit: a partition of which too many records become dead letters is paused.

A producer with a broken contract, or a constraint added by mistake, would otherwise turn the whole topic into dead
letters. The idea is arroyo's ``DlqLimit`` (getsentry/arroyo): beyond some share it is better to stop processing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.failure import Failure, SystemicError, Verdict


@dataclass(frozen=True, slots=True)
class DeadLetterLimit:
    """Allows ``limit`` dead letters among the last ``window`` offsets of a partition; a limit of 0 allows all.

    Counts since this worker was assigned the partition: after a restart ``limit`` more are allowed. A replayed record
    that fails again is not counted: it is known to be bad.
    """

    limit: int = 5_000
    window: int = 10_000
    _offsets: dict[tuple[str, int], list[int]] = field(default_factory=dict)

    def admit(self, dead_letters: Sequence[DeadLetter]) -> None:
        """Raise SystemicError when these exceed the limit. Called before they are committed."""
        if not dead_letters:
            return
        partition = (dead_letters[0].record.topic, dead_letters[0].record.partition)
        offsets = self._with(self._offsets.get(partition, []), dead_letters)
        if 0 < self.limit < len(offsets):
            raise SystemicError(self._exceeded(dead_letters[-1].failure, len(offsets)))
        self._offsets[partition] = offsets

    def _with(self, before: list[int], dead_letters: Sequence[DeadLetter]) -> list[int]:
        """Return the offsets of the dead letters in the window that ends with these."""
        offsets = sorted(dead.record.offset for dead in dead_letters if dead.replay_count == 0)
        if not offsets:
            return before
        begin = bisect_left(before, offsets[-1] - self.window + 1)
        # A set: records are read again after a rebalance, and attempts repeated.
        return sorted({*before[begin : bisect_left(before, offsets[-1] + 1)], *offsets})

    def _exceeded(self, last: Failure, count: int) -> Failure:
        message = (
            f"{count} of the last {self.window} records became dead letters, the last because of {last.reason}: "
            "correct the producer or the table, then restart the worker; a higher KEEPSTREAM_WORKER__FLOOD_LIMIT "
            "allows more (0: no limit)"
        )
        return Failure(last.step, Verdict.SYSTEMIC, "dead_letter_flood", message)
