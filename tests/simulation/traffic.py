"""What producers write in a simulated world: little, and as awkward as possible."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.simulation.faults import Fault, Faults

BROKEN = (b"", b"{", b"[]", b"\xff", b'{"event_id":"","payload":{}}')
IGNORED = (None, b'{"kind":"heartbeat"}', b'{"kind":"heartbeat","event_id":"e0","payload":{}}')
"""What the rules of the simulated deployment ignore; the last one would be an event without them."""
UNHOLDABLE = b"1e999999"
"""A number that JSON has and PostgreSQL has not."""
POISON = frozenset({"poison-1", "poison-2"})
UNDELIVERABLE = frozenset({"undeliverable-1"})
SLOW = frozenset({"slow-1"})
BAD = POISON | UNDELIVERABLE | SLOW


@dataclass(slots=True)
class Traffic:
    """Makes values. Remembers what it wrote, to repeat it.

    ``mark`` is a part of each payload that can be stored: the ids of two topics are the same, what they name is not.
    """

    rng: random.Random
    faults: Faults
    mark: Mapping[str, str] = field(default_factory=dict)
    _written: list[tuple[str, int, bytes]] = field(default_factory=list)

    def value(self) -> bytes | None:
        faults, rng = self.faults, self.rng
        if faults.strikes(Fault.REJECTED):
            return rng.choice(BROKEN)
        if faults.strikes(Fault.IGNORED):
            return rng.choice(IGNORED)
        if self._written and faults.strikes(Fault.DUPLICATE):
            return rng.choice(self._written)[2]
        if self._written and faults.strikes(Fault.STALE):
            event_id, second, _ = rng.choice(self._written)
            return self._event(event_id, max(0, second - rng.randint(0, 2)))
        if faults.strikes(Fault.UNHOLDABLE):
            return b'{"event_id":"%b","payload":{"x":%b}}' % (self._name().encode(), UNHOLDABLE)
        return self._event(self._bad_name() or self._name(), rng.randint(0, 9))

    def _bad_name(self) -> str | None:
        kinds = {Fault.POISON: POISON, Fault.UNDELIVERABLE: UNDELIVERABLE, Fault.SLOW_RECORD: SLOW}
        return next((self.rng.choice(sorted(ids)) for kind, ids in kinds.items() if self.faults.strikes(kind)), None)

    def _name(self) -> str:
        """Return a new name, or now and then one that is known."""
        if self._written and self.rng.random() < 0.15:
            return self.rng.choice(self._written)[0]
        return f"e{len(self._written)}"

    def _event(self, event_id: str, second: int) -> bytes:
        fields = {"event_id": event_id, "payload": {"n": self.rng.randint(0, 1), **self.mark},
                  "timestamp": f"2026-11-24T10:00:0{second}Z"}  # fmt: skip
        value = json.dumps(fields).encode()
        self._written.append((event_id, second, value))
        return value
