"""The shapes in which producers usually write events."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class Shape:
    """What a producer writes, the lines below ``[keepstream.mapping]``, and what is stored."""

    lines: str
    value: bytes
    event_id: str
    payload: Any
    created_at: str
    key: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    correlation_id: str | None = None


SHAPES = {
    "epoch milliseconds": Shape(
        'timestamp_format = "epoch_ms"',
        b'{"event_id": "a", "payload": {"n": 1.000000000000000001}, "timestamp": 1764000000123}',
        "a",
        {"n": Decimal("1.000000000000000001")},
        "2025-11-24T16:00:00.123+00:00",
    ),
    "no zone": Shape(
        'timestamp_zone = "Europe/Paris"',
        b'{"event_id": "a", "payload": {}, "timestamp": "2026-11-24T10:00:00.5"}',
        "a",
        {},
        "2026-11-24T09:00:00.5+00:00",
    ),
    "camel case": Shape(
        'id = "/eventId"\ntimestamp = "/occurredAt"\ncorrelation_id = "/correlationId"\npayload = "/data"',
        b'{"eventId":"a","occurredAt": "2026-11-24T10:00:00Z", "correlationId":7,"data": {"n": 12345678901234567890}}',
        "a",
        {"n": 12345678901234567890},
        "2026-11-24T10:00:00+00:00",
        correlation_id="7",
    ),
    "integer id": Shape(
        'id = "order-{/id}"\ntimestamp = "/created"\ntimestamp_format = "epoch_s"\npayload = "value"',
        b'{"id": 12345678901234567890123, "created": 1764000000}',
        "order-12345678901234567890123",
        {"id": 12345678901234567890123, "created": 1764000000},
        "2025-11-24T16:00:00+00:00",
    ),
    "array payload": Shape(
        'payload = "/payload"',
        b'{"event_id": "a", "payload": [1, "x", null, 1e2], "timestamp": "2026-11-24T10:00:00Z"}',
        "a",
        [1, "x", None, 100],
        "2026-11-24T10:00:00+00:00",
    ),
    "structured CloudEvent": Shape(
        'preset = "cloudevents"',
        b'{"specversion": "1.0", "id": "7", "source": "/shop", "type": "placed", "time": "2026-11-24T10:00:00Z",'
        b' "datacontenttype": "application/json", "data": {"n": 1.000000000000000001}}',
        "/shop 7",
        {"n": Decimal("1.000000000000000001")},
        "2026-11-24T10:00:00+00:00",
    ),
    "binary CloudEvent of text": Shape(
        'preset = "cloudevents"',
        b"hello",
        "/shop 7",
        "hello",
        "2026-11-24T10:00:00+00:00",
        headers={
            "ce_specversion": "1.0",
            "ce_id": "7",
            "ce_source": "/shop",
            "ce_time": "2026-11-24T10:00Z",
            "content-type": "text/plain",
        },
    ),
    "Dapr": Shape(
        'preset = "dapr"',
        b'{"data": {"orderId": 1}, "datacontenttype": "application/json", "id": "5929aaac", "pubsubname": "p",'
        b' "source": "checkout", "specversion": "1.0", "time": "2026-11-24T10:00:00Z", "topic": "orders",'
        b' "traceid": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "type": "com.dapr.event.sent"}',
        "checkout 5929aaac",
        {"orderId": 1},
        "2026-11-24T10:00:00+00:00",
        correlation_id="0af7651916cd43dd8448eb211c80319c",
    ),
    "Debezium change event": Shape(
        'preset = "debezium"',
        b'{"before": null, "after": {"id": 1, "price": 1.50}, "source": {"db": "shop", "schema": "public",'
        b' "table": "orders", "ts_ms": 1764000000123}, "op": "c", "ts_ms": 1764000000999}',
        'shop.public.orders {"id":1}',
        {"id": 1, "price": Decimal("1.50")},
        "2025-11-24T16:00:00.123+00:00",
        key=b'{"id":1}',
    ),
    "outbox row": Shape(
        'preset = "debezium-outbox"\ntimestamp = "/at"\ntimestamp_format = "epoch_ms"',
        b'{"total": 1.10, "at": 1764000000123}',
        "0e984725",
        {"total": Decimal("1.10"), "at": 1764000000123},
        "2025-11-24T16:00:00.123+00:00",
        key=b"order-1",
        headers={"id": "0e984725"},
        correlation_id="order-1",
    ),
}
