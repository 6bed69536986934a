"""The contract of keepstream: what every record must be, whatever mapping or custom contract comes before. Pure.

It has two checks. The *contract* (pydantic, depth, the length of numbers) is checked for every record. The *content*
(what jsonb cannot store) is exact but slow, and PostgreSQL refuses precisely the same: so it is checked only after
PostgreSQL has refused a batch. The verdict on a record is the same either way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from keepstream.processors.validation.cloudevents import cloud_event_document, is_cloud_event
from keepstream.processors.validation.jsonb import depth, find_unwritable, unholdable
from keepstream.processors.validation.rejection import to_rejection
from keepstream.processors.validation.timestamps import is_in_calendar
from keepstream.schemas.event import DATED, MAX_VALUE_BYTES, UNDATED, Envelope, Ignored, Rejection, ValidEvent
from keepstream.schemas.record import MAX_TIMESTAMP_MS, Record, header

MAX_DEPTH = 64
TOMBSTONE = "tombstone"

_parse = TypeAdapter(Envelope).validator.validate_json
_check_fields = TypeAdapter(Envelope).validator.validate_python
_CLOSING_BRACE = ord("}")
_EPOCH = datetime.fromtimestamp(0, UTC)
_TRACEPARENT = re.compile("[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context

Verdict = ValidEvent | Rejection | Ignored
Read = Callable[[Record, bytes], Verdict]
"""Return the verdict on a record of another shape than ours."""


def check_contract(record: Record, read: Read | None = None) -> Verdict:
    """Check size, depth, JSON, fields and the length of numbers when they are written out.

    ``read`` takes over after size and depth, where a deployment has another shape than ours.
    """
    value = record.value
    if not value:
        return _nothing(value)
    if len(value) > MAX_VALUE_BYTES:
        return Rejection("too_large", f"the value has {len(value)} bytes; at most {MAX_VALUE_BYTES} are accepted")
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and depth(value) > MAX_DEPTH:
        return Rejection("too_deep", f"the value nests deeper than {MAX_DEPTH} levels")
    if read is not None:
        return read(record, value)
    if record.headers and is_cloud_event(record):
        value = cloud_event_document(record, value)
    return check_document(record, value)


def check_document(record: Record, document: bytes, fields: dict[str, object] | None = None) -> ValidEvent | Rejection:
    """Check a document by its fields; ``fields`` instead of the document's own, where it is written but not parsed."""
    try:
        event = _parse(document) if fields is None else _check_fields(fields)
    except ValidationError as error:
        return to_rejection(error, document)
    return check_written(record, document, event)


def check_written(record: Record, document: bytes, event: Envelope) -> ValidEvent | Rejection:
    """Check the numbers of a document whose fields are checked, and complete it."""
    unwritable = find_unwritable(document)
    return Rejection(*unwritable, _usable(event["event_id"])) if unwritable else _complete(record, document, event)


def check_content(event: ValidEvent) -> Rejection | None:
    """Return a rejection for what jsonb cannot store: NUL characters, NaN and Infinity, numbers out of range."""
    found = unholdable(event.document)
    return found and Rejection(*found, _usable(event.event_id))


def _usable(event_id: str) -> str | None:
    """Return an event id that a row could have: PostgreSQL's text cannot contain NUL."""
    return None if "\0" in event_id else event_id


def _nothing(value: bytes | None) -> Rejection:
    if value is None:
        return Rejection(
            TOMBSTONE, "the record has no value (a tombstone); KEEPSTREAM_MAPPING__TOMBSTONES=ignore or delete takes it"
        )
    return Rejection("empty_value", "the value is empty; a JSON object is expected")


def _complete(record: Record, value: bytes, event: Envelope) -> ValidEvent | Rejection:
    """Append the fields that the producer left out; in jsonb the last of equal keys wins, so none has to be removed."""
    event_id, timestamp, correlation_id = event["event_id"], event.get("timestamp"), event.get("correlation_id")
    added, undated = b"", DATED
    if timestamp is None:
        if not 0 <= record.timestamp <= MAX_TIMESTAMP_MS:
            return _bad_timestamp(event_id, "absent, and the record's own Kafka timestamp is out of range")
        timestamp = (_EPOCH + timedelta(milliseconds=record.timestamp)).isoformat(timespec="milliseconds")
        added, undated = b',"timestamp":"%b"' % timestamp.encode(), UNDATED
    elif not is_in_calendar(timestamp):
        return _bad_timestamp(event_id, "not a date of the calendar between years 1 and 9999 in UTC")
    if not correlation_id:
        correlation_id = _fallback_correlation_id(record) or event_id
        added += b',"correlation_id":%b' % json.dumps(correlation_id).encode()
    if value[-1] != _CLOSING_BRACE:
        value = value.rstrip(b" \t\r\n")
    document = b'%b%b,"@offset":%d%b}' % (value[:-1], added, record.offset, undated)
    return ValidEvent(record, event_id, timestamp, correlation_id, document)


def _bad_timestamp(event_id: str, why: str) -> Rejection:
    return Rejection("invalid_timestamp", f"timestamp: {why}", event_id)


def _fallback_correlation_id(record: Record) -> str | None:
    given = header(record, "correlation_id")
    if given and len(given) <= 255 and "\0" not in given:  # noqa: PLR2004 - MAX_ID_CHARS
        return given
    trace = _TRACEPARENT.fullmatch(header(record, "traceparent") or "")
    return trace[1] if trace else None
