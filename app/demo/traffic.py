"""Realistic events and 2 % special ones, each with the expected outcome, and their producer."""

from __future__ import annotations

import itertools
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from keepstream.schemas.outcome import Outcome

SPECIAL_SHARE = 0.02
_CUSTOMERS, _SKUS = 5_000, 400


@dataclass(frozen=True, slots=True)
class DemoRecord:
    """One record to produce. ``kind`` names what is special about it; ``outcome`` is the expected one."""

    kind: str
    outcome: Outcome
    key: bytes
    value: bytes | None


Fields = dict[str, Any]


def _without(name: str) -> Callable[[Fields], bytes]:
    return lambda event: _encode({key: value for key, value in event.items() if key != name})


def _with(**changes: Any) -> Callable[[Fields], bytes]:  # noqa: ANN401
    return lambda event: _encode(event | changes)


def _in_payload(text: bytes) -> Callable[[Fields], bytes]:
    return lambda event: _encode(event).replace(b'"payload":{', b'"payload":{"odd":' + text + b",", 1)


BROKEN: dict[str, Callable[[Fields], bytes | None]] = {
    "not JSON": lambda event: b"order " + str(event["event_id"]).encode(),
    "cut off": lambda event: _encode(event)[:-20],
    "empty value": lambda _event: b"",
    "tombstone": lambda _event: None,
    "a JSON array": lambda event: b"[" + _encode(event) + b"]",
    "no event_id": _without("event_id"),
    "empty event_id": _with(event_id=""),
    "no payload": _without("payload"),
    "payload is text": _with(payload="paid"),
    "time without zone": _with(timestamp="2026-11-24T10:00:00"),
    "30 February": _with(timestamp="2026-02-30T10:00:00Z"),
    "NUL character": _in_payload(rb'"a\u0000b"'),
    "NaN": _in_payload(b"NaN"),
    "half a surrogate pair": _in_payload(rb'"\ud800"'),
    "not UTF-8": _in_payload(b'"\xff"'),
    "number out of range": _in_payload(b"1e400000"),
    "nested too deep": _in_payload(b"[" * 70 + b"]" * 70),
}
"""Invalid records by name; each must become a dead letter."""


def traffic(count: int, phase: str, seed: int) -> Iterator[DemoRecord]:
    """Return exactly ``count`` records. The same seed gives the same kinds and payloads; ids are new each time."""
    return itertools.islice(_endless(phase, random.Random(seed)), count)  # noqa: S311 - traffic, not secrets


def _endless(phase: str, rng: random.Random) -> Iterator[DemoRecord]:
    specials = itertools.cycle([*BROKEN, "duplicate", "stale update"])
    while True:
        kind = next(specials) if rng.random() < SPECIAL_SHARE else ""
        yield from _records(kind, _event(rng, phase))


def _records(kind: str, event: Fields) -> Iterator[DemoRecord]:
    key = str(event["payload"]["order_id"]).encode()
    if kind in BROKEN:
        yield DemoRecord(kind, Outcome.DEAD_LETTERED, key, BROKEN[kind](event))
        return
    yield DemoRecord("order", Outcome.DELIVERED, key, _encode(event))
    if kind == "duplicate":
        yield DemoRecord(kind, Outcome.DUPLICATE, key, _encode(event))
    elif kind == "stale update":
        older = datetime.fromisoformat(event["timestamp"]) - timedelta(minutes=5)
        yield DemoRecord(kind, Outcome.STALE, key, _with(timestamp=older.isoformat(), metadata=None)(event))


def _event(rng: random.Random, phase: str) -> Fields:
    order = f"order-{rng.randrange(10**9):09d}"
    items = [
        {"sku": f"sku-{rng.randrange(_SKUS):03d}", "quantity": rng.randint(1, 5)} for _ in range(rng.randint(1, 3))
    ]
    return {
        "event_id": str(uuid.uuid4()),
        "payload": {
            "type": rng.choice(["order.placed", "order.paid", "order.shipped"]),
            "order_id": order,
            "customer_id": f"customer-{rng.randrange(_CUSTOMERS):05d}",
            "amount": round(rng.uniform(5, 500), 2),
            "currency": "EUR",
            "items": items,
        },
        "metadata": {"source": "shop", "phase": phase},
        "timestamp": datetime.now(UTC).isoformat(timespec="microseconds"),
        "correlation_id": f"{order}-{rng.randrange(10**6):06d}",
    }


def _encode(event: Fields) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


class DemoProducer:
    """Idempotent producer. ``produced`` and ``dead_values`` count acknowledged records only."""

    def __init__(self, client: Mapping[str, str | int | float | bool], topic: str) -> None:
        self._producer = Producer({**client, "enable.idempotence": True, "compression.type": "lz4", "linger.ms": 5})
        self._topic = topic
        self.produced: Counter[Outcome] = Counter()
        self.dead_values: Counter[bytes | None] = Counter()

    @property
    def acknowledged(self) -> int:
        return sum(self.produced.values())

    def send(self, record: DemoRecord) -> None:
        """Send a record. Raises KafkaException when the broker refused an earlier one."""

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                raise KafkaException(error)
            self.produced[record.outcome] += 1
            if record.outcome is Outcome.DEAD_LETTERED:
                self.dead_values[record.value] += 1

        while True:
            try:
                self._producer.produce(self._topic, record.value, record.key, on_delivery=delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def send_paced(self, records: Iterable[DemoRecord], rate: float) -> Iterator[int]:
        """Send at ``rate`` records per second on an open schedule; yield the number of each."""
        started = time.monotonic()
        for number, record in enumerate(records):
            while (early_s := started + number / rate - time.monotonic()) > 0:
                self._producer.poll(min(early_s, 0.01))
            self.send(record)
            yield number

    def flush(self) -> None:
        """Wait until everything sent is acknowledged."""
        self._producer.flush()
