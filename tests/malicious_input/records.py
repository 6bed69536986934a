"""Whole records that try to do harm: every text in every field, every key and every header."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

from keepstream.schemas.record import KafkaRecord
from tests.builders import AT, make_record
from tests.malicious_input.texts import JSON_TYPES, TEXTS
from tests.malicious_input.values import HOSTILE, as_payload, as_whole_payload, corpus

FIELDS = (
    "event_id",
    "payload",
    "metadata",
    "timestamp",
    "correlation_id",
    "retry_attempt",
    "unknown",
    "@offset",
    "@undated",
)
HEADERS = (
    "correlation_id", "traceparent", "ce_id", "ce_time", "ce_type", "ce_specversion", "content-type",
    "keepstream.dlq.id", "keepstream.dlq.step", "keepstream.dlq.replay-count", "keepstream.replay.id",
    "__connect.errors.topic", "__connect.errors.partition", "__connect.errors.offset", "kafka_dlt-original-topic",
)  # fmt: skip
Headers = list[tuple[str, bytes | None]]


def hostile_values() -> Iterator[bytes | None]:
    """Give values that need no envelope of ours, and the same texts inside one."""
    yield from (None, b"")
    for number, text in enumerate([*HOSTILE, *corpus()]):
        yield from (text, as_payload(text, f"value-{number}"), as_whole_payload(text, f"payload-{number}"))


def hostile_fields() -> Iterator[bytes]:
    """Give envelopes with a text, a text as a key, or a wrong type in one field, escaped and as UTF-8."""
    numbers = itertools.count()
    for field, found in itertools.product(FIELDS, (*TEXTS, *JSON_TYPES)):
        yield json.dumps(_envelope(next(numbers)) | {field: found}).encode()
    for text in TEXTS:
        inner = {text: text, "list": [text, {text: [text]}]}
        yield json.dumps(_envelope(next(numbers)) | {"payload": inner, "metadata": inner}).encode()
        fields = _envelope(next(numbers)) | {"payload": {"x": text}, "correlation_id": text, text: text}
        yield json.dumps(fields, ensure_ascii=False).encode(errors="surrogatepass")
    for again in (b'"event_id":"second"', rb'"event\u005fid":"second"', b'"payload":5', b'"payload":{"second":1}'):
        yield json.dumps(_envelope(next(numbers))).encode()[:-1] + b"," + again + b"}"


def hostile_headers() -> Iterator[Headers]:
    """Give lists of headers: each text as a value and as a name, bytes that are no text, and far too many."""
    numbers = itertools.count()
    for name, text in itertools.product(HEADERS, TEXTS):
        yield [*_cloud(next(numbers)), (name, text.encode(errors="surrogatepass"))]
    for text in TEXTS:
        if not any("\ud800" <= character <= "\udfff" for character in text):  # no producer can write such a name
            yield [*_cloud(next(numbers)), (text, b"1"), ("ce_" + text, b"1")]
    for value in (None, b"", b"\xff", b"\0", bytes(range(256))):
        yield [(name, value) for name in HEADERS]
    yield [("", b"")]
    yield [(f"h{i}", b"%d" % i) for i in range(1000)]
    yield [*_cloud(next(numbers)), *[(f"ce_h{i}", b"%d" % i) for i in range(1000)]]
    yield [("same", b"%d" % i) for i in range(1000)]
    yield [("traceparent", b"00-%032x-%016x-01" % (i, i)) for i in range(1, 1000)]
    yield [("long", b"x" * 200_000)]


def hostile_records() -> list[KafkaRecord]:
    """Return them all as records of one partition, offsets counted from 0."""
    plain = json.dumps({"payload": {"x": 1}, "timestamp": AT}).encode()
    contents: list[tuple[bytes | None, bytes | None, Headers]] = [
        *((value, b"k", []) for value in hostile_values()),
        *((value, None, []) for value in hostile_fields()),
        *((plain, b"h", headers) for headers in hostile_headers()),
        *((None, text.encode(errors="surrogatepass"), []) for text in TEXTS),
    ]
    return [make_record(v, offset, key=key, headers=headers) for offset, (v, key, headers) in enumerate(contents)]


def _cloud(number: int) -> Headers:
    return [("ce_specversion", b"1.0"), ("ce_id", b"cloud-%d" % number)]


def _envelope(number: int) -> dict[str, object]:
    return {"event_id": f"field-{number}", "payload": {"x": 1}, "timestamp": AT}
