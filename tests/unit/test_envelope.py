"""The hot path's short form of the contract says what the contract says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from keepstream.schemas.event import MAX_RETRY_ATTEMPT, Envelope, Event

MANY = "x" * 256
VALUES: dict[str, tuple[Any, ...]] = {
    "event_id": ("", " ", "a", MANY, 7, None),
    "payload": ({}, {"a": [1]}, [], "x", None),
    "metadata": ({}, {"a": 1}, [], "x", None),
    "timestamp": ("2026-11-24T10:00:00Z", "2026-11-24T10:00:00", "", 7, None),
    "correlation_id": ("", "c", MANY, 7, None),
    "retry_attempt": (0, MAX_RETRY_ATTEMPT, MAX_RETRY_ATTEMPT + 1, -1, 1.0, True, "1", None),
    "unknown": (1,),
}
_EVENT, _ENVELOPE = TypeAdapter(Event), TypeAdapter(Envelope)


def verdict(adapter: TypeAdapter[Any], value: bytes) -> list[tuple[Any, ...]]:
    try:
        adapter.validate_json(value)
    except ValidationError as error:
        return [(e["type"], e["loc"], e["msg"]) for e in error.errors()]
    return []


def test_both_have_the_same_fields() -> None:
    assert set(Envelope.__annotations__) == set(Event.model_fields)


@pytest.mark.parametrize(("field", "given"), [(field, given) for field in VALUES for given in VALUES[field]])
def test_both_give_the_same_verdict_on_a_field(field: str, given: Any) -> None:
    value = json.dumps({"event_id": "e", "payload": {}} | {field: given}).encode()
    assert verdict(_EVENT, value) == verdict(_ENVELOPE, value)


@pytest.mark.parametrize("value", [b"{}", b'{"event_id": "e"}', b'{"payload": {}}', b"[", b'{"event_id": "e", "payl'])
def test_both_give_the_same_verdict_on_a_document(value: bytes) -> None:
    assert verdict(_EVENT, value) == verdict(_ENVELOPE, value) != []
