"""What the group's offset in Kafka says beside the number: that keepstream committed it, and where it once began.

Kafka's offset may be ahead of PostgreSQL, for its commits outlive a crash that takes PostgreSQL's last ones, a failover
to a standby that lagged, or a restored backup. So keepstream's own offset is never taken for the work of a consumer
that came before it: where PostgreSQL has no row for a partition, it is read again from where it once began.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARK = re.compile(r"keepstream first_offset=(\d+)")


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """``first_offset`` is where keepstream began the partition; None when another consumer committed."""

    offset: int
    first_offset: int | None = None

    @property
    def metadata(self) -> str:
        """What Kafka keeps beside the offset, readable in the group's tools."""
        return "" if self.first_offset is None else f"keepstream first_offset={self.first_offset}"

    @classmethod
    def of(cls, offset: int, metadata: str) -> CommittedOffset:
        """Read what was committed, by whomever."""
        found = _MARK.fullmatch(metadata)
        return cls(offset, int(found[1]) if found else None)
