"""What a value that is no event of ours looks like: said in the reason of its dead letter."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pydantic_core

_MAGIC = (
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_decode = json.JSONDecoder().raw_decode
_space = re.compile(r"[ \t\r\n]*").match
_FRAME_BYTES = 5
_PRESET = "KEEPSTREAM_MAPPING__PRESET={} reads it"


def of_bytes(value: bytes) -> str:
    """Describe bytes that are no JSON, as the end of a message; empty where they look like nothing known."""
    if len(value) > _FRAME_BYTES and value[0] == 0 and value[1:2] != b"{":
        schema = int.from_bytes(value[1:_FRAME_BYTES], "big")
        hook = "a hook can take the frame off JSON, KEEPSTREAM_DECODE"
        return f"; it looks like a record of a Schema Registry, with schema id {schema}: {hook}"
    if value.startswith(b"\x1f\x8b"):
        return "; it looks like gzip: KEEPSTREAM_DECODE=gzip reads it"
    for magic, name in _MAGIC:
        if value.startswith(magic):
            return f"; it looks like {name}: write JSON in UTF-8 (Kafka's own compression.type compresses it)"
    if len(value) > 1 and 0 in value[:2]:
        return "; it looks like UTF-16: write JSON in UTF-8"
    return _documents(value)


def of_json(found: object) -> str:
    """Describe JSON that is no object."""
    if isinstance(found, list) and found:
        return f"; it is an array of {len(found)}: a record must be one event, for offsets count records"
    if isinstance(found, str) and _parses(found):
        return "; it is a string that contains JSON: it was serialized twice"
    return ""


def of_object(found: object) -> str:
    """Describe an object without an ``event_id``."""
    if not isinstance(found, dict):
        return ""
    inner = found["payload"] if found.keys() == {"schema", "payload"} else found
    for name, matches in _SHAPES.items():
        if isinstance(inner, dict) and matches(inner):
            return f"; it looks like {name}"
    return ""


_SHAPES: dict[str, Callable[[dict[str, object]], bool]] = {
    f"an event of Dapr: {_PRESET.format('dapr')}": lambda found: "specversion" in found and "pubsubname" in found,
    f"a structured CloudEvent: {_PRESET.format('cloudevents')}": lambda found: "specversion" in found,
    f"a change event of Debezium: {_PRESET.format('debezium')}": lambda found: (
        "op" in found and ("after" in found or "before" in found)
    ),
}


def _documents(value: bytes) -> str:
    """Recognise a second JSON document after the first; a third is not looked for."""
    try:
        text = value.decode()
        _, at = _decode(text, _space(text, 0).end())  # type: ignore[union-attr]  # it always matches
        _decode(text, _space(text, at).end())  # type: ignore[union-attr]
    except (ValueError, RecursionError):
        return ""
    return "; it is several JSON documents: a record must be one event"


def _parses(text: str) -> bool:
    try:
        return isinstance(pydantic_core.from_json(text), dict | list)
    except ValueError:
        return False
