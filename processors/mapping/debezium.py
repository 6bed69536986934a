"""Debezium's change events, and the events of its outbox router; with and without Connect's schema around them."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json

from keepstream.processors.mapping.document import Document, Path, UnmappedError, cut, json_object, quoted, value_at
from keepstream.processors.mapping.mapping import JsonPart, RecordMapping
from keepstream.processors.mapping.timestamps import timestamp_reader
from keepstream.schemas.record import cloud_event_id, header, text_of

_CHANGES = ("c", "r", "u", "d")
_CONTEXT = "__debezium."
_QUALIFIERS = ("db", "schema", "table", "collection")
_READ_US, _READ_MS = timestamp_reader("epoch_us", None), timestamp_reader("epoch_ms", None)


def change(document: Document) -> tuple[Path, dict[str, Any]]:
    """Return where the change event is in the value, and the event. Raises UnmappedError for other records."""
    path = _base(document.root)
    found = value_at(document.root, path)
    if not isinstance(found, dict) or "op" not in found:
        raise UnmappedError("missing_field", "op: is required and absent: no change event of Debezium")
    if found["op"] not in _CHANGES:
        raise UnmappedError("invalid_field", "op: must be c, r, u or d; other operations change no row")
    return path, found


def row_id(document: Document) -> str:
    """Return the name of the table and the row's key: a later change of a row is a newer version of it."""
    source = change(document)[1].get("source")
    names = [str(source[name]) for name in _QUALIFIERS if source.get(name)] if isinstance(source, dict) else []
    key = text_of(document.record.key)
    if not key:
        raise UnmappedError(
            "missing_field", "key: is required and absent: the table has no primary key; set message.key.columns in "
            "Debezium, or mapping.id",
        )  # fmt: skip
    return cloud_event_id(".".join(names) or None, _key_text(key))


def changed_at(document: Document) -> str:
    """Return when the row was changed in its database: ``source.ts_us``, or ``source.ts_ms`` of older versions."""
    source = change(document)[1].get("source")
    found = source if isinstance(source, dict) else {}
    try:
        return _READ_US(found["ts_us"]) if type(found.get("ts_us")) is int else _READ_MS(found.get("ts_ms"))
    except ValueError as error:
        raise UnmappedError("invalid_timestamp", f"source.ts_ms: {error}") from None


def row(document: Document) -> bytes:
    """Return the row after the change; of a deleted row what it was before, or its key."""
    path, found = change(document)
    for name in ("after", "before") if found["op"] == "d" else ("after",):
        if found.get(name) is not None:
            return document.raw((*path, name))
    if found["op"] != "d":
        raise UnmappedError("missing_field", "after: is required and absent or null")
    return b"{}"


def operation(document: Document) -> bytes:
    """Return the operation and its source; of a delete also ``"deleted": true``."""
    path, found = change(document)
    members = {"op": quoted(found["op"])}
    if found["op"] == "d":
        members["deleted"] = b"true"
    for name in ("source", "transaction"):
        if found.get(name) is not None:
            members[name] = document.raw((*path, name))
    return json_object(members)


def outbox_id(document: Document) -> str:
    """Return the header ``id`` that the outbox router writes; a JSON converter puts it in quotes."""
    text = header(document.record, "id")
    if text is None:
        raise UnmappedError("missing_field", "header:id: is required and absent: no event of Debezium's outbox router")
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] == '"' else text  # noqa: PLR2004


def outbox_payload(document: Document) -> bytes:
    """Return the value; JSON that is the text of a JSON string is taken out of it, once."""
    path = _base(document.root)
    found = value_at(document.root, path)
    if found is None:
        raise UnmappedError("missing_field", "payload: is required and absent or null")
    if isinstance(found, str):
        try:
            inner = from_json(found)
        except ValueError:
            inner = None
        if isinstance(inner, dict | list):
            return found.encode()
    return document.raw(path)


def outbox_metadata(document: Document) -> bytes | None:
    """Return the headers but the id, as text: the router's additional fields.

    Debezium's own name the run of the connector: with them, what it sends again after a crash would not be the same.
    """
    names = {name for name, _ in document.record.headers if name != "id" and not name.startswith(_CONTEXT)}
    found = {name: header(document.record, name) for name in sorted(names)}
    return json.dumps(found).encode() if found else None


def outbox_aggregate(document: Document) -> str | None:
    """Return the key: the id of the aggregate."""
    text = text_of(document.record.key)
    return _key_text(text) if text else None


DEBEZIUM = RecordMapping(
    event_id=row_id, timestamp=changed_at, correlation_id=lambda _document: None, payload=JsonPart(row),
    metadata=JsonPart(operation),
)  # fmt: skip
DEBEZIUM_OUTBOX = RecordMapping(
    event_id=outbox_id, timestamp=lambda _document: None, correlation_id=outbox_aggregate,
    payload=JsonPart(outbox_payload), metadata=JsonPart(outbox_metadata),
)  # fmt: skip


def _base(root: object) -> Path:
    """Return where the data are: Connect's JSON converter puts them under ``payload`` beside their schema."""
    return ("payload",) if isinstance(root, dict) and root.keys() == {"schema", "payload"} else ()


def _key_text(text: str) -> str:
    """Return the key without its schema, as it is written; a JSON string without its quotes."""
    try:
        root = from_json(text)
    except ValueError:
        return text
    path = _base(root)
    found = value_at(root, path)
    return found if isinstance(found, str) else cut(text, path) if path else text
