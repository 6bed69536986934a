"""Noticing that another worker goes by our ``group_instance_id``.

Kafka gives the name to whoever came last and forgets the other's member id. aiokafka does not say its name when it asks
afterwards, so it is told "unknown member" instead of "fenced", and takes the name back: the two would put each other
out for ever, several times a second. Nothing is lost by it, but hardly anything gets done.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

LIMIT = 5
"""A worker that slept, or whose coordinator moved, is put out once."""
WITHIN_S = 60.0


@dataclass(slots=True)
class Namesake:
    """Told our member id at each revocation; knows when it was taken from us too often."""

    name: str | None
    _lost_at: deque[float] = field(default_factory=lambda: deque(maxlen=LIMIT))

    def trouble(self, member_id: str, now: float | None = None) -> str | None:
        """Return what is wrong once our member id was taken too often: it is empty then.

        Asked before we join again: so the other one is left alone, and only one of the two has to end.
        """
        if self.name is None or member_id:
            return None
        now = time.monotonic() if now is None else now
        self._lost_at.append(now)
        if len(self._lost_at) < LIMIT or now - self._lost_at[0] > WITHIN_S:
            return None
        return (f"another worker goes by the group_instance_id {self.name!r}: it put this one out of the group "
                f"{LIMIT} times in {now - self._lost_at[0]:.0f} s; give each a KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID of "
                "its own")  # fmt: skip
