"""The events every bench sends, and the topic that holds them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

_WORDS = ("order", "item", "price", "note", "gift", "blue", "large", "return", "parcel", "paid", "held", "sent")
TEXT = " ".join(random.Random(7).choices(_WORDS, k=20_000))
"""What fills an event up to its size: compresses about as prose does, so neither lz4 nor TOAST makes it vanish."""
PRODUCER: dict[str, str | int | float | bool] = {
    "compression.type": "lz4", "linger.ms": 20, "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 2_000_000,
}  # fmt: skip
BROKEN = b'{"event_id": 7, "payload": "not an object"}'
NOTE = len(', "note": ""')


@dataclass(frozen=True)
class Backlog:
    """What a topic holds. ``flat``: objects as JSON strings, named as the columns: all that Debezium's sink takes."""

    events: int = 300_000
    size_bytes: int = 360
    partitions: int = 8
    bad_share: float = 0.0
    flat: bool = False
    name: str = ""
    """Of a topic that is filled while it is read; else the contents name it."""

    @property
    def bad(self) -> int:
        """How many records break the contract: exactly, spread evenly over each partition."""
        return self.partitions * self._bad_of_partition

    @property
    def _bad_of_partition(self) -> int:
        return round(self.events // self.partitions * self.bad_share)

    @property
    def good(self) -> int:
        return self.events - self.bad

    @property
    def topic(self) -> str:
        form = "-flat" if self.flat else ""
        return self.name or f"events-{self.events}-{self.size_bytes}b-{self.partitions}p-{self.bad}bad{form}"

    def is_bad(self, number: int) -> bool:
        """Say whether record ``number`` is one; it is the ``number // partitions``-th of its partition."""
        nth, size = number // self.partitions, self.events // self.partitions
        return nth < size and (nth + 1) * self._bad_of_partition // size > nth * self._bad_of_partition // size


def event(number: int, size_bytes: int, *, flat: bool = False) -> bytes:
    """Return one event of about ``size_bytes`` as JSON. Ids spread over the index as random ids do."""
    document = {
        "event_id": f"0193b2f4-7e1a-7c3e-{random.getrandbits(16):04x}-{number:012d}",
        "payload": {"order_id": f"o-{random.randrange(10**6)}", "amount": 129.95, "currency": "EUR",
                    "items": [{"sku": "A-1", "qty": 2}, {"sku": "B-7", "qty": 1}]},
        "metadata": {"source": "shop", "region": "eu-central", "version": 3},
        "timestamp": "2026-11-24T10:11:12.345678Z", "correlation_id": "corr-0193b2f4-7e1a",
    }  # fmt: skip
    bare = len(json.dumps(document))
    length, start = max(0, size_bytes - bare - NOTE), random.randrange(50_000)
    document["payload"]["note"] = TEXT[start : start + length]  # type: ignore[index]
    if flat:
        document |= {name: json.dumps(document[name]) for name in ("payload", "metadata")}
        document["created_at"] = document.pop("timestamp")
    return json.dumps(document).encode()


def create(bootstrap_servers: str, topic: str, partitions: int, config: Mapping[str, str] | None = None) -> None:
    """Create a topic, and leave it alone where it is there."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    if topic not in admin.list_topics(timeout=30).topics:
        admin.create_topics([NewTopic(topic, partitions, 1, config=dict(config or {}))])[topic].result(timeout=30)


def fill(bootstrap_servers: str, backlog: Backlog) -> str:
    """Produce a backlog and return its topic."""
    create(bootstrap_servers, backlog.topic, backlog.partitions)
    producer = Producer(PRODUCER | {"bootstrap.servers": bootstrap_servers})
    for number in range(backlog.events):
        value = BROKEN if backlog.is_bad(number) else event(number, backlog.size_bytes, flat=backlog.flat)
        producer.produce(backlog.topic, value, partition=number % backlog.partitions)
        if number % 5000 == 0:
            producer.poll(0)
    left = producer.flush(120)
    if left:
        raise SystemExit(f"{left} events did not reach {backlog.topic}")
    return backlog.topic
