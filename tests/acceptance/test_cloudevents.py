"""Events that the CloudEvents project's own package writes are rows, whichever way it writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias

import pytest
from cloudevents.core.bindings import kafka as v2
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import kafka as v1
from cloudevents.v1.http import CloudEvent as EarlierCloudEvent
from confluent_kafka import Producer

from tests.acceptance.conftest import System

pytestmark = [pytest.mark.real, pytest.mark.long]

TRACE = "0af7651916cd43dd8448eb211c80319c"
AT = datetime(2026, 11, 24, 10, 0, 0, 500, UTC)
ATTRIBUTES = {
    "specversion": "1.0", "source": "/shop", "type": "order.placed", "subject": "Zoë", "partitionkey": "k",
    "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
}  # fmt: skip
Encode: TypeAlias = Callable[..., Any]
Data: TypeAlias = tuple[str | None, Any, Any]
DATA: list[Data] = [
    ("application/json", {"total": 1.5, "name": "Zoë"}, {"total": Decimal("1.5"), "name": "Zoë"}),
    (None, {"total": 1}, {"total": 1}),
    ("application/vnd.shop+json", {"a": [None]}, {"a": [None]}),
    ("application/json", None, {}),
    ("text/plain", "hello", "hello"),
    ("application/octet-stream", b"\xff\x00", {"data_base64": "/wA="}),
]
"""Type, data as a producer gives it, payload as it is stored."""


def by_v2(encode: Encode, number: int, content_type: str | None, data: Any) -> Any:
    attributes = ATTRIBUTES | {"id": str(number), "time": AT}
    return encode(CloudEvent(attributes | _typed(content_type), data), JSONFormat())


def by_v1(encode: Encode, number: int, content_type: str | None, data: Any) -> Any:
    """Encode as version 1 does, which needs a type and leaves data that are no JSON to its caller."""
    attributes = ATTRIBUTES | {"id": str(number), "time": AT.isoformat()}
    return encode(EarlierCloudEvent(attributes | _typed(content_type or "application/json"), data))


def _typed(content_type: str | None) -> dict[str, str]:
    return {"datacontenttype": content_type} if content_type else {}


@pytest.mark.parametrize(
    ("make", "order", "data"),
    [
        (by_v2, (v2.to_binary, v2.to_structured), DATA),
        (by_v1, (v1.to_structured, v1.to_binary), DATA[:4]),
    ],
    ids=["v2", "v1"],
)
def test_what_the_package_writes_is_stored_once(
    system: System, make: Callable[..., Any], order: tuple[Encode, ...], data: list[Data]
) -> None:
    producer = Producer({"bootstrap.servers": system.kafka.bootstrap_servers})
    for encode in order:
        for number, (content_type, given, _) in enumerate(data):
            made = make(encode, number, content_type, given)
            producer.produce(system.topic, made.value, made.key, headers=dict(made.headers))
    assert producer.flush(30) == 0
    system.start_worker(KEEPSTREAM_MAPPING__PRESET="cloudevents")
    system.settled(2 * len(data))
    stored = system.database.rows("SELECT event_id, payload::text, created_at, correlation_id FROM events ORDER BY 1")
    assert [(row[0], json.loads(row[1], parse_float=Decimal), *row[2:]) for row in stored] == [
        (f"/shop {number}", payload, AT, TRACE) for number, (_, _, payload) in enumerate(data)
    ]
    totals = system.database.totals()
    assert (totals["delivered"], totals["duplicate"], totals["failed"]) == (len(data), len(data), 0)
    system.cli("audit", "--deep", KEEPSTREAM_MAPPING__PRESET="cloudevents")
