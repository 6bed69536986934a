"""Membership in the consumer group: why this worker is not a member, and whether another has its instance id."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaError,
)

from keepstream.app.process.exit import exit_fatal

log = logging.getLogger(__name__)
LIMIT = 5
"""A worker that was suspended, or whose coordinator moved, loses its member id once."""
WITHIN_S = 60.0
LOG_AFTER_S = 5
"""An ordinary join takes less, and is not logged."""
_HINTS: dict[type[KafkaError], str] = {
    InconsistentGroupProtocolError: "its members share partitions by another partition.assignment.strategy than "
    "roundrobin: stop the old consumers, or give this worker another KEEPSTREAM_KAFKA__GROUP_ID",
    InvalidSessionTimeoutError: "KEEPSTREAM_KAFKA__SESSION_TIMEOUT_S is outside the broker's "
    "group.min.session.timeout.ms and group.max.session.timeout.ms",
    GroupAuthorizationFailedError: "this user lacks the right to READ the group",
}


def static_member_name(instance_id: str | None, topics: Sequence[str]) -> str | None:
    """Return the instance id of a static member, which is another one for each set of several topics.

    A member that comes back gets its former partitions, whatever it subscribes to now: aiokafka fails at those of
    a topic that was removed, and no member would be given a topic that was added.
    """
    if instance_id is None or not topics:
        return instance_id
    return f"{instance_id}-{crc32(' '.join(sorted(topics)).encode()):08x}"


def explain_refusal(error: KafkaError) -> str:
    """Return why the group refuses a member, with what to do where that is known."""
    return f"{type(error).__name__}: {_HINTS.get(type(error), str(error))}"


@dataclass(slots=True)
class MembershipMonitor:
    """Logs why this worker is not a member of its group, and ends it when that lasts for ``limit_s``.

    ``error`` returns the reason; None while it is a member, or has not asked to join yet. Time is counted in beats, one
    per second, while Kafka answers.
    """

    group_id: str
    limit_s: float
    error: Callable[[], str | None]
    is_kafka_available: Callable[[], bool]
    on_lost: Callable[[str], None] = exit_fatal
    _logged: str | None = None
    _beats: int = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.beat()

    def beat(self) -> None:
        """Check once."""
        error = self.error()
        self._beats = self._beats + self.is_kafka_available() if error else 0
        if error != self._logged and (not error or self._beats >= LOG_AFTER_S):
            self._log(error)
        if self._beats >= self.limit_s:
            self.on_lost(f"not a member of the group {self.group_id} for {self._beats} s while Kafka answers: {error}")

    def _log(self, error: str | None) -> None:
        self._logged = error
        if error:
            log.warning("not a member of the group %s, tried again: %s", self.group_id, error)
        else:
            log.info("member of the group %s", self.group_id)


@dataclass(slots=True)
class DuplicateInstanceDetector:
    """Detects another worker with the same ``group_instance_id``: each fences the other's member id."""

    name: str | None
    _lost_at: deque[float] = field(default_factory=lambda: deque(maxlen=LIMIT))

    def check(self, member_id: str, now: float | None = None) -> str | None:
        """Return an error once the member id was lost (is empty) `LIMIT` times within `WITHIN_S`.

        Called at each revocation, before this worker joins again: so only one of the two ends.
        """
        if self.name is None or member_id:
            return None
        now = time.monotonic() if now is None else now
        self._lost_at.append(now)
        if len(self._lost_at) < LIMIT or now - self._lost_at[0] > WITHIN_S:
            return None
        return (f"another worker has the group_instance_id {self.name!r}: it took the member id from this one "
                f"{LIMIT} times in {now - self._lost_at[0]:.0f} s; give each a KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID of "
                "its own")  # fmt: skip
