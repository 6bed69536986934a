"""Conversion of pydantic's errors to rejections: a stable reason, and a message that names the field."""

from __future__ import annotations

import json

import pydantic_core
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from keepstream.processors.validation import strangers
from keepstream.schemas.event import Rejection
from keepstream.schemas.record import MAX_ID_CHARS

_SENTENCES = {
    ("event_id", "string_pattern_mismatch"): "must not be blank",
    ("event_id", "string_too_short"): "must not be empty",
    ("timestamp", "string_pattern_mismatch"): "must be RFC 3339 with a zone, like 2026-11-24T10:00:00Z",
    ("payload", "dict_type"): "must be a JSON object",
    ("metadata", "dict_type"): "must be a JSON object or null",
}
_OF_A_WHOLE_MODEL = ("value_error", "assertion_error")  # raised by validators of a custom contract


def to_rejection(error: ValidationError, value: bytes) -> Rejection:
    """Describe the first error; the value itself never appears in the message."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return _not_json(first, value)
    event_id = usable_event_id(value)
    if not first["loc"] and first["type"] not in _OF_A_WHOLE_MODEL:
        looks = strangers.of_json(pydantic_core.from_json(value))
        return Rejection("not_an_object", f"the value is valid JSON but not an object{looks}", event_id)
    field = ".".join(map(str, first["loc"])) or "event"
    if first["type"] == "missing":
        looks = strangers.of_object(pydantic_core.from_json(value)) if field == "event_id" else ""
        return Rejection("missing_field", f"{field}: is required and absent{looks}", event_id)
    if (field, first["type"]) == ("timestamp", "string_type"):
        return Rejection("invalid_timestamp", f"timestamp: {not_text(error.errors()[0]['input'])}", event_id)
    reason = "invalid_timestamp" if field == "timestamp" else "invalid_field"
    return Rejection(reason, f"{field}: {_sentence(field, first)}", event_id)


def usable_event_id(value: bytes) -> str | None:
    """Return the event_id of a rejected value when it has one that a row could have."""
    try:
        found = pydantic_core.from_json(value)
    except ValueError:
        return None
    event_id = found.get("event_id") if isinstance(found, dict) else None
    usable = isinstance(event_id, str) and 0 < len(event_id) <= MAX_ID_CHARS and "\0" not in event_id
    return event_id if usable else None


def not_text(found: object) -> str:
    """Say what is wrong with a timestamp that is not text."""
    return f"must be text like 2026-11-24T10:00:00Z{likely_unit(found)}"


def likely_unit(found: object) -> str:
    """Return a question that names the unit of a number, by how large it is for a time between 2001 and 2286."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < 10**20:
        return ""
    units = {10: "epoch seconds", 13: "epoch milliseconds", 16: "epoch microseconds", 19: "epoch nanoseconds"}
    unit = units.get(len(str(abs(int(found)))))
    return f"; {unit}?" if unit else ""


def _sentence(field: str, error: ErrorDetails) -> str:
    return _SENTENCES.get((field, error["type"])) or error["msg"][0].lower() + error["msg"][1:]


def _not_json(error: ErrorDetails, value: bytes) -> Rejection:
    try:
        value.decode()
    except UnicodeDecodeError as undecodable:
        where = f"byte {undecodable.start} cannot be decoded{strangers.of_bytes(value)}"
        return Rejection("invalid_utf8", f"the value is not UTF-8: {where}")
    if "surrogate" in error["msg"] or ("hex escape" in error["msg"] and _python_reads(value)):
        return Rejection("lone_surrogate", f"a string contains half of a surrogate pair: {_where(error)}")
    if "number out of range" in error["msg"]:
        return Rejection("number_out_of_range", f"a number has more digits than are accepted: {_where(error)}")
    if value.startswith("\ufeff".encode()):
        return Rejection("invalid_json", "the value starts with a byte order mark, which JSON does not allow")
    return Rejection("invalid_json", f"the value is not JSON: {_where(error)}{strangers.of_bytes(value)}")


def _python_reads(value: bytes) -> bool:
    """Whether the value is JSON for Python's parser: of hex escapes, it only accepts surrogates beyond pydantic's."""
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _where(error: ErrorDetails) -> str:
    return error["msg"].removeprefix("Invalid JSON: ")
