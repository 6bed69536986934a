"""JSON Schema of the values that a mapping reads: where its paths lead, and which of them must be there.

It accepts whatever the mapping accepts. What a schema cannot say (digits of an id, days of the calendar) it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from keepstream.processors.mapping.document import Path
from keepstream.processors.mapping.options import MappingOptions, Preset
from keepstream.processors.mapping.sources import RECORD, path_of, pieces
from keepstream.schemas.event import MAX_RETRY_ATTEMPT, NOT_BLANK, RFC3339
from keepstream.schemas.record import MAX_ID_CHARS

Schema = dict[str, Any]

ANY_BUT_NULL = ["object", "array", "string", "number", "boolean"]
_TEXT: Schema = {"type": ["string", "integer"]}
_ID: Schema = _TEXT | {"minLength": 1, "maxLength": MAX_ID_CHARS, "pattern": NOT_BLANK}
_OPTIONAL_ID: Schema = {"type": ["string", "integer", "null"], "maxLength": MAX_ID_CHARS}
_ATTEMPT: Schema = {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_RETRY_ATTEMPT}
_WITHOUT_ZONE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}"
_MOST_ITEMS = 64


@dataclass
class _Node:
    """A place in the value: what it must be, and what is within it."""

    rules: list[Schema] = field(default_factory=list)
    needed: bool = False
    within: dict[str, _Node] = field(default_factory=dict)

    def put(self, path: Path, rule: Schema, *, needed: bool) -> None:
        self.needed = self.needed or needed
        if path:
            self.within.setdefault(path[0], _Node()).put(path[1:], rule, needed=needed)
        elif rule and rule not in self.rules:
            self.rules.append(rule)

    def schema(self) -> Schema:
        """Return the schema. Its keywords apply to objects or to arrays only: a path may lead through either."""
        if not self.within:
            return self.rules[0] if len(self.rules) == 1 else {"allOf": self.rules} if self.rules else {}
        found: Schema = {"properties": {name: node.schema() for name, node in self.within.items()}}
        required = [name for name, node in self.within.items() if node.needed]
        indexes = {int(name): node for name, node in self.within.items() if _is_index(name)}
        if required:
            found |= {"type": ["object", "array"] if indexes else "object", "required": required}
        if indexes:
            known = [indexes[at].schema() if at in indexes else {} for at in range(min(max(indexes), _MOST_ITEMS) + 1)]
            found |= {
                "prefixItems": known,
                "minItems": max((at + 1 for at, n in indexes.items() if n.needed), default=0),
            }
        return found | ({"allOf": self.rules} if self.rules else {})


@dataclass
class RecordSchema:
    """What a record must have: its value as JSON Schema, the names of headers, and whether it needs a key."""

    value: Schema
    headers: list[str] = field(default_factory=list)
    key: bool = False


def mapping_schema(options: MappingOptions, preset: Preset | None, *, objects: bool = False) -> RecordSchema:
    """Return the schema of a mapping. ``objects``: the payload must be one, for a custom contract follows."""
    if preset and options == MappingOptions():
        value, headers = _PRESETS[preset]
        return RecordSchema(value, list(headers), key=preset == "debezium")
    root, found = _Node(), RecordSchema({})
    for spec, rule, needed in _parts(options, objects=objects, with_defaults=preset is None):
        single = [spec] == [*pieces(spec)]
        for inner in pieces(spec):
            if inner.startswith("/") or inner == "value":
                path = path_of(inner) if inner.startswith("/") else ()
                root.put(path, rule if single else _TEXT, needed=needed or not single)
            elif needed or not single:
                found.headers += [inner.removeprefix("header:")] if inner.startswith("header:") else []
                found.key = found.key or inner == "key"
    found.value, found.headers = root.schema(), sorted({*found.headers})
    return found


def _parts(options: MappingOptions, *, objects: bool, with_defaults: bool) -> Iterator[tuple[str, Schema, bool]]:
    """Yield the source of each part, its rule, and whether it must be there."""
    given = {"id": "/event_id", "timestamp": "/timestamp", "correlation_id": "/correlation_id", "payload": "/payload",
             "metadata": "/metadata"} if with_defaults else {}  # fmt: skip
    named = {name: spec for name in ("id", "timestamp", "correlation_id", "payload", "metadata")
             if (spec := getattr(options, name)) is not None}  # fmt: skip
    specs = given | named
    objects = objects or "payload" not in named
    rules: dict[str, tuple[Schema, bool]] = {
        "id": (_ID, True), "timestamp": (_timestamp(options), options.timestamp is not None),
        "correlation_id": (_OPTIONAL_ID, False),
        "payload": ({"type": "object" if objects else ANY_BUT_NULL}, True),
        "metadata": ({"type": ["object", "null"]}, False),
    }  # fmt: skip
    for name, spec in specs.items():
        if isinstance(spec, Mapping):
            yield from ((inner, {}, False) for inner in spec.values())
        elif spec not in (RECORD, "none"):
            yield spec, *rules[name]
    if with_defaults and specs["payload"] != "value":
        yield "/retry_attempt", _ATTEMPT, False


def _timestamp(options: MappingOptions) -> Schema:
    optional = [] if options.timestamp else ["null"]
    if options.timestamp_format != "rfc3339":
        return {"type": ["number", "string", *optional]}
    text: Schema = {"type": ["string", *optional]}
    if options.timestamp_zone is None:
        return text | {"pattern": RFC3339}
    return text | {"anyOf": [{"pattern": RFC3339}, {"pattern": _WITHOUT_ZONE}]}


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 7  # noqa: PLR2004 - as `value_at`


_NAME: Schema = {"type": "string", "minLength": 1}
_CLOUD_EVENT: Schema = {
    "type": "object",
    "required": ["specversion", "id", "source"],
    "properties": {
        "specversion": {"type": "string"},
        "id": _NAME,
        "source": _NAME,
        "time": {"type": ["string", "null"], "anyOf": [{"pattern": RFC3339}, {"maxLength": 0}]},
    },
}
_CHANGE: Schema = {
    "type": "object",
    "required": ["op", "source"],
    "properties": {
        "op": {"enum": ["c", "r", "u", "d"]},
        "source": {"type": "object", "anyOf": [{"required": ["ts_us"]}, {"required": ["ts_ms"]}]},
    },
}
_PRESETS: dict[Preset, tuple[Schema, tuple[str, ...]]] = {
    "cloudevents": (_CLOUD_EVENT, ()),
    "dapr": (_CLOUD_EVENT, ()),
    "debezium": (
        {"anyOf": [_CHANGE, {"type": "object", "required": ["payload"], "properties": {"payload": _CHANGE}}]}, (),
    ),
    "debezium-outbox": ({"type": ANY_BUT_NULL}, ("id",)),
}  # fmt: skip
