"""The start offset of a partition after an assignment, decided from stored, committed and log offsets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_MARK = re.compile(r"keepstream first_offset=(\d+)")


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """The group's committed offset in Kafka, with metadata: the offset at which keepstream started the partition.

    Kafka's offset may be ahead of PostgreSQL, because it outlives a crash in which PostgreSQL loses its last commits, a
    failover to a standby that lagged, or a restored backup. So keepstream's own offset is never taken for that of an
    earlier consumer: where PostgreSQL has no row for a partition, it is read again from ``first_offset``. That is None
    when another consumer committed.
    """

    offset: int
    first_offset: int | None = None

    @property
    def metadata(self) -> str:
        """The metadata that Kafka keeps with the offset, readable in the tools for consumer groups."""
        return "" if self.first_offset is None else f"keepstream first_offset={self.first_offset}"

    @classmethod
    def parse(cls, offset: int, metadata: str) -> CommittedOffset:
        """Parse a committed offset, of any consumer."""
        found = _MARK.fullmatch(metadata)
        return cls(offset, int(found[1]) if found else None)


class StartReason(StrEnum):
    """The reason for a start offset."""

    STORED = "stored"
    """The offset stored in PostgreSQL: the ordinary case."""
    COMMITTED = "committed"
    """Never consumed by keepstream, but another consumer of the group committed an offset."""
    FORGOTTEN = "forgotten"
    """Consumed by keepstream, as the group's offset says, but PostgreSQL has no offset (a failover to a standby that
    lagged, a backup, another database). Starts at keepstream's first offset: later rows may be gone."""
    POLICY = "policy"
    """Never consumed: ``auto_offset_reset`` decides."""
    GAP = "gap"
    """Retention deleted records before they were read: starts at the first that is left."""
    RECREATED = "recreated"
    """Another topic of the same name, or a log that ends before the stored offset. Starts at the log's start."""


@dataclass(frozen=True, slots=True)
class StartOffset:
    """``offset`` is where to read from; ``lost`` records before it were deleted unread."""

    offset: int
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
            return StartOffset(log_start, StartReason.RECREATED)
        if stored < log_start:
            return StartOffset(log_start, StartReason.GAP, log_start - stored)
        return StartOffset(stored, StartReason.STORED)
    if committed is not None and committed.offset <= log_end:
        if committed.first_offset is not None:
            first = min(committed.first_offset, committed.offset)
            begin = max(first, log_start)
            return StartOffset(begin, StartReason.FORGOTTEN, begin - first)
        begin = max(committed.offset, log_start)
        return StartOffset(begin, StartReason.COMMITTED, begin - committed.offset)
    begin = log_end if reset_to_end and committed is None else log_start
    return StartOffset(begin, StartReason.POLICY)
