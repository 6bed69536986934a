"""The group's committed offset in Kafka, with metadata: the offset at which keepstream started the partition.

Kafka's offset may be ahead of PostgreSQL, because it outlives a crash in which PostgreSQL loses its last commits, a
failover to a standby that lagged, or a restored backup. So keepstream's own offset is never taken for that of an
earlier consumer: where PostgreSQL has no row for a partition, it is read again from ``first_offset``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARK = re.compile(r"keepstream first_offset=(\d+)")


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """``first_offset`` is where keepstream started the partition; None when another consumer committed."""

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
