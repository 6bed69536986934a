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
FOREIGN = {"event_id": "eventId", "timestamp": "occurredAt", "correlation_id": "correlationId", "payload": "data",
           "metadata": "context"}  # fmt: skip
MAPPING = {
    "KEEPSTREAM_MAPPING__ID": "/eventId", "KEEPSTREAM_MAPPING__CORRELATION_ID": "/correlationId",
    "KEEPSTREAM_MAPPING__TIMESTAMP": "/occurredAt", "KEEPSTREAM_MAPPING__TIMESTAMP_FORMAT": "epoch_ms",
    "KEEPSTREAM_MAPPING__PAYLOAD": "/data", "KEEPSTREAM_MAPPING__METADATA": "/context",
}  # fmt: skip
"""The settings under which `in_foreign_form` is an event."""
NOTE = len(', "note": ""')
REFUSED = (b'{"sku": "\\u0000"}', b'{"sku": NaN}')
"""What keepstream's contract lets through and jsonb does not hold, each in turn."""
UUID7_FROM_MS = 0x0193B2F47E1A
UUID7_PER_MS = 10


@dataclass(frozen=True)
class Backlog:
    """What a topic holds. ``flat``: objects as JSON strings, named as the columns: all that Debezium's sink takes."""

    events: int = 300_000
    size_bytes: int = 360
    partitions: int = 8
    bad_share: float = 0.0
    refused: bool = False
    """Whether it is PostgreSQL that refuses the bad records, and not the contract."""
    time_ordered: bool = False
    """Whether ids are UUIDv7: later events have greater ones."""
    flat: bool = False
    foreign: bool = False
    """Whether the events have other names and a timestamp in milliseconds, for a mapping: `MAPPING`."""
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
        bad = f"{self.bad}{'refused' if self.refused else 'bad'}"
        form = "-flat" * self.flat + "-uuid7" * self.time_ordered + "-foreign" * self.foreign
        return self.name or f"events-{self.events}-{self.size_bytes}b-{self.partitions}p-{bad}{form}"

    def is_bad(self, number: int) -> bool:
        """Say whether record ``number`` is one; it is the ``number // partitions``-th of its partition."""
        nth, size = number // self.partitions, self.events // self.partitions
        return nth < size and (nth + 1) * self._bad_of_partition // size > nth * self._bad_of_partition // size

    def value(self, number: int) -> bytes:
        """Return the value of record ``number``."""
        is_bad = self.is_bad(number)
        if is_bad and not self.refused:
            return BROKEN
        value = event(number, self.size_bytes, flat=self.flat, time_ordered=self.time_ordered)
        value = in_foreign_form(value) if self.foreign else value
        return value.replace(b'{"sku": "A-1", "qty": 2}', REFUSED[number // self.partitions % 2]) if is_bad else value


def event_id(number: int, *, time_ordered: bool = False) -> str:
    """Return an id that spreads over the index as random ids do, or one that starts with the time as UUIDv7."""
    if time_ordered:
        ms = f"{UUID7_FROM_MS + number // UUID7_PER_MS:012x}"
        return f"{ms[:8]}-{ms[8:]}-7{random.getrandbits(12):03x}-8{random.getrandbits(12):03x}-{number:012d}"
    return f"0193b2f4-7e1a-7c3e-{random.getrandbits(16):04x}-{number:012d}"


def event(number: int, size_bytes: int, *, flat: bool = False, time_ordered: bool = False) -> bytes:
    """Return one event of about ``size_bytes`` as JSON."""
    document = {
        "event_id": event_id(number, time_ordered=time_ordered),
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


def in_foreign_form(value: bytes) -> bytes:
    """Return an event as a producer of another shape writes it."""
    found = {FOREIGN[name]: member for name, member in json.loads(value).items()}
    return json.dumps(found | {"occurredAt": 1_764_000_000_123}).encode()


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
        producer.produce(backlog.topic, backlog.value(number), partition=number % backlog.partitions)
        if number % 5000 == 0:
            producer.poll(0)
    left = producer.flush(120)
    if left:
        raise SystemExit(f"{left} events did not reach {backlog.topic}")
    return backlog.topic
