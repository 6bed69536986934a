"""A steady stream of events while something is done to the workers, and how long each partition stood still."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from confluent_kafka import Producer

from tests.acceptance.conftest import System
from tests.builders import make_value

POLL_S = 0.02
_OFFSETS = "SELECT partition, next_offset FROM stream_offsets ORDER BY partition"


@dataclass
class Traffic:
    """What was produced, and per partition the longest time, in seconds, in which its stored offset did not move."""

    system: System
    per_second: int
    produced: int = 0
    stall_s: dict[int, float] = field(default_factory=dict)
    failures: list[object] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def longest_s(self) -> float:
        return max(self.stall_s.values())

    def produce(self) -> None:
        """Feed each partition in turn until the end; each gets a record every few milliseconds."""
        producer = Producer({"bootstrap.servers": self.system.kafka.bootstrap_servers, "linger.ms": 5})
        began = time.monotonic()
        while not self._ended.is_set():
            while self.produced < (time.monotonic() - began) * self.per_second:
                producer.produce(
                    self.system.topic, make_value(), partition=self.produced % self.system.partitions,
                    on_delivery=lambda error, _m: self.failures.extend([error] if error else []),
                )  # fmt: skip
                self.produced += 1
            producer.poll(0)
            time.sleep(POLL_S)
        assert producer.flush(30) == 0

    def watch(self) -> None:
        moved: dict[int, tuple[int, float]] = {}
        with self.system.database.connect() as connection:
            while not self._ended.is_set():
                now = time.monotonic()
                for partition, offset in connection.execute(_OFFSETS).fetchall():
                    if partition not in moved or moved[partition][0] != offset:
                        moved[partition] = (offset, now)
                    stood_s = now - moved[partition][1]
                    self.stall_s[partition] = max(self.stall_s.get(partition, 0.0), stood_s)
                time.sleep(POLL_S)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Produce and watch meanwhile; afterwards every record was acknowledged."""
        threads = [threading.Thread(target=work) for work in (self.produce, self.watch)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join(60)
        assert not self.failures
