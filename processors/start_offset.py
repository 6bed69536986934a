"""Where a partition begins after an assignment. Pure: facts in, decision out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from keepstream.schemas.committed_offset import CommittedOffset


class StartReason(StrEnum):
    """Why a partition begins where it begins."""

    STORED = "stored"
    """Where PostgreSQL says it stood: the ordinary case."""
    COMMITTED = "committed"
    """Never consumed by keepstream, but another consumer of the group committed an offset."""
    FORGOTTEN = "forgotten"
    """Consumed by keepstream, as the group's offset says, but PostgreSQL knows nothing of it (a failover to a standby
    that lagged, a backup, another database). Begins where keepstream once began: what was stored since may be gone."""
    POLICY = "policy"
    """Never consumed by anybody: ``auto_offset_reset`` decides."""
    GAP = "gap"
    """Retention deleted records before they were read: begins at what is left."""
    RECREATED = "recreated"
    """It is another topic of the same name, or its log ends before the stored offset. Begins at its start."""


@dataclass(frozen=True, slots=True)
class StartOffset:
    """``offset`` is where to read from, ``fence`` what `stream_offsets` shall hold, ``lost`` the gap's size."""

    offset: int
    fence: int
    reason: StartReason
    lost: int = 0


def decide_start_offset(
    stored: int | None,
    committed: CommittedOffset | None,
    log_start: int,
    log_end: int,
    *,
    is_other_topic: bool = False,
    reset_to_end: bool = False,
) -> StartOffset:
    """Prefer what is stored; never skip records that still exist, never wait for an offset that will not come."""
    if stored is not None:
        if is_other_topic or stored > log_end:
            return StartOffset(log_start, log_start, StartReason.RECREATED)
        if stored < log_start:
            return StartOffset(log_start, stored, StartReason.GAP, log_start - stored)
        return StartOffset(stored, stored, StartReason.STORED)
    if committed is not None and committed.offset <= log_end:
        if committed.first_offset is not None:
            first = min(committed.first_offset, committed.offset)
            begin = max(first, log_start)
            return StartOffset(begin, first, StartReason.FORGOTTEN, begin - first)
        if log_start <= committed.offset:
            return StartOffset(committed.offset, committed.offset, StartReason.COMMITTED)
    begin = log_end if reset_to_end and committed is None else log_start
    return StartOffset(begin, begin, StartReason.POLICY)
