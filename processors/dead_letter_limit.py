"""The flood guard: a partition of which most records die is held, for then the records are hardly to blame.

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
    """Refuses what would make more than ``limit`` dead among the last ``window`` offsets; a limit of 0 refuses nothing.

    Per partition, and since this worker owns it: a restart begins anew and lets ``limit`` more through. What a replay
    sent home and what dies again is not counted: it is known to be bad.
    """

    limit: int = 5_000
    window: int = 10_000
    _dead: dict[tuple[str, int], list[int]] = field(default_factory=dict)

    def admit(self, letters: Sequence[DeadLetter]) -> None:
        """Raise SystemicError while there are too many, before it is decided that these records are dead."""
        if not letters:
            return
        record = letters[0].record
        place = (record.topic, record.partition)
        dead = self._with(self._dead.get(place, []), letters)
        if 0 < self.limit < len(dead):
            raise SystemicError(self._flood(letters[-1].failure, len(dead)))
        self._dead[place] = dead

    def _with(self, dead: list[int], letters: Sequence[DeadLetter]) -> list[int]:
        """Return the offsets of the dead in the window that ends with these letters."""
        offsets = sorted(letter.record.offset for letter in letters if letter.replay_count == 0)
        if not offsets:
            return dead
        begin = bisect_left(dead, offsets[-1] - self.window + 1)
        # Read again after a rebalance, or tried again: none is counted twice.
        return sorted({*dead[begin : bisect_left(dead, offsets[-1] + 1)], *offsets})

    def _flood(self, last: Failure, count: int) -> Failure:
        message = (
            f"{count} of the last {self.window} records died, the last of {last.reason}: mend the producer or the "
            "table, then restart the worker; a higher KEEPSTREAM_WORKER__FLOOD_LIMIT (0: none) lets them become dead "
            "letters"
        )
        return Failure(last.step, Verdict.SYSTEMIC, "dead_letter_flood", message)
