"""CloudEvents 1.0 in structured and binary mode alike: the same event is the same row, whichever way it was sent.

Source: CloudEvents Kafka protocol binding 1.0.2, sections 3.2 and 3.3; JSON event format 1.0.2. A record is either;
attributes are metadata under their names in headers (``ce_type``).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from keepstream.processors.mapping.document import NOT_JSON, Document, UnmappedError, json_object, not_json, quoted
from keepstream.processors.mapping.mapping import JsonPart, RecordMapping
from keepstream.schemas.record import cloud_event_id, header, text_of

_PREFIX = "ce_"
_DATA = frozenset(("data", "data_base64"))
_JSON_TYPE = re.compile(r"[\w.+-]+/(?:[\w.-]+\+)?json", re.IGNORECASE)
_BATCH = "application/cloudevents-batch"
_TRACE = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context


def attributes(document: Document) -> Mapping[str, Any]:
    """Return the attributes without their prefix. Raises UnmappedError for what is no CloudEvent."""
    if document.kept is None:
        document.kept = _attributes(document)
    found: Mapping[str, Any] = document.kept
    return found


def _attributes(document: Document) -> Mapping[str, Any]:
    if header(document.record, "ce_specversion") is not None:
        return _in_headers(document)
    root = document.root
    if isinstance(root, dict) and isinstance(root.get("specversion"), str):
        return {name: value for name, value in root.items() if name not in _DATA and value is not None}
    raise _no_cloud_event(document)


def is_binary(document: Document) -> bool:
    """Whether the attributes are in headers."""
    return header(document.record, "ce_specversion") is not None


def event_id(document: Document) -> str:
    """Return source and id: only both together identify an event."""
    found = attributes(document)
    source, id_ = found.get("source"), found.get("id")
    for name, value in (("id", id_), ("source", source)):
        if not isinstance(value, str) or not value:
            raise UnmappedError("missing_field", f"{_shown(document, name)}: is required, as text that is not empty")
    return cloud_event_id(str(source), str(id_))


def timestamp(document: Document) -> str | None:
    """Return ``time``."""
    return _text(document, "time")


def trace_id(document: Document) -> str | None:
    """Return the trace id of the extension ``traceparent``."""
    found = _TRACE.fullmatch(_text(document, "traceparent") or "")
    return found[1] if found else None


def dapr_trace_id(document: Document) -> str | None:
    """Return the trace id; older versions of Dapr write ``traceid``, of the same form."""
    found = _TRACE.fullmatch(_text(document, "traceparent") or _text(document, "traceid") or "")
    return found[1] if found else None


def metadata(document: Document) -> bytes:
    """Return all attributes but the time."""
    binary = is_binary(document)
    members = {}
    for name, value in sorted(attributes(document).items()):
        if name != "time":
            plain = binary or isinstance(value, str)
            members[_PREFIX + name] = quoted(value) if plain else document.raw((name,))
    return json_object(members)


def payload(document: Document) -> bytes:
    """Return the data: JSON as it is, other text as a string, bytes as ``{"data_base64": ...}``, none as ``{}``."""
    if is_binary(document):
        return _binary_data(document)
    root = document.root
    if root.get("data") is not None:
        return document.raw(("data",))
    if root.get("data_base64") is not None:
        return json_object({"data_base64": document.raw(("data_base64",))})
    return b"{}"


CLOUD_EVENTS = RecordMapping(
    event_id=event_id, timestamp=timestamp, correlation_id=trace_id, payload=JsonPart(payload),
    metadata=JsonPart(metadata), any_value=True,
)  # fmt: skip
DAPR = replace(CLOUD_EVENTS, correlation_id=dapr_trace_id)


def _binary_data(document: Document) -> bytes:
    if not document.value:
        return b"{}"
    content_type = header(document.record, "content-type") or "application/json"
    if _JSON_TYPE.match(_unquoted(content_type)):
        if document.root is NOT_JSON:
            refused = not_json(document.value)
            raise UnmappedError(refused.reason, refused.message)
        return document.value if document.root is not None else b"{}"
    text = text_of(document.value)
    if text is None:
        return json_object({"data_base64": quoted(base64.b64encode(document.value).decode())})
    return quoted(text)


def _in_headers(document: Document) -> dict[str, object]:
    """Read each ``ce_*`` header. Spring's header mapper of old wrote them as JSON strings, in quotes."""
    found: dict[str, bytes | None] = {}
    for name, value in document.record.headers:
        if name.startswith(_PREFIX):
            found[name] = value or found.get(name)
    texts = {name.removeprefix(_PREFIX): text_of(value) for name, value in found.items()}
    texts["datacontenttype"] = texts.get("datacontenttype") or header(document.record, "content-type")
    quoted = (texts["specversion"] or "").startswith('"')
    return {name: _unquoted(text) if quoted else text for name, text in texts.items() if text is not None}


def _unquoted(text: str) -> str:
    if not (text.startswith('"') and text.endswith('"')):
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def _text(document: Document, name: str) -> str | None:
    value = attributes(document).get(name)
    if value is None or isinstance(value, str):
        return value or None
    raise UnmappedError("invalid_field", f"{_shown(document, name)}: must be text")


def _shown(document: Document, name: str) -> str:
    return f"{_PREFIX}{name}" if is_binary(document) else name


def _no_cloud_event(document: Document) -> UnmappedError:
    root = document.root
    if not document.value:
        return UnmappedError("tombstone", "the record has neither a value nor the headers of a CloudEvent")
    if root is NOT_JSON:
        refused = not_json(document.value)
        return UnmappedError(refused.reason, refused.message)
    if isinstance(root, list) or (header(document.record, "content-type") or "").startswith(_BATCH):
        count = f"{len(root)} events" if isinstance(root, list) else "events"
        return UnmappedError(
            "several_events", f"the value is a batch of {count}; a record must be one event, for offsets count records"
        )
    if not isinstance(root, dict):
        return UnmappedError("not_an_object", "the value is valid JSON but not an object")
    return UnmappedError("missing_field", "specversion: is required, in the value or as header ce_specversion")
