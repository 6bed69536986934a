"""A mapping as it is written in the settings, by the name of a preset or source by source, and compiled from there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from keepstream.processors.mapping.cloudevents import CLOUD_EVENTS, DAPR
from keepstream.processors.mapping.debezium import DEBEZIUM, DEBEZIUM_OUTBOX
from keepstream.processors.mapping.document import Document, UnmappedError, json_object
from keepstream.processors.mapping.mapping import JsonPart, ReadJson, ReadText, RecordMapping
from keepstream.processors.mapping.members import MemberMapping, compile_members
from keepstream.processors.mapping.renames import Renames
from keepstream.processors.mapping.sources import RECORD, Source, compile_source
from keepstream.processors.mapping.timestamps import Format, timestamp_reader

Preset = Literal["cloudevents", "dapr", "debezium", "debezium-outbox"]
PRESETS: dict[Preset, RecordMapping] = {
    "cloudevents": CLOUD_EVENTS,
    "dapr": DAPR,
    "debezium": DEBEZIUM,
    "debezium-outbox": DEBEZIUM_OUTBOX,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingOptions:
    """A mapping as it is written in the settings; None is where the contract has it, or where the preset finds it."""

    id: str | None = None
    timestamp: str | None = None
    timestamp_format: Format = "rfc3339"
    timestamp_zone: str | None = None
    correlation_id: str | None = None
    payload: str | None = None
    metadata: str | Mapping[str, str] | None = None


def compile_mapping(options: MappingOptions, preset: RecordMapping | None = None) -> RecordMapping:
    """Compile the options; what they leave out is the preset's. Raises ValueError for what cannot be compiled."""
    own = {
        "event_id": _id(options.id), "timestamp": _timestamp(options), "payload": _payload(options.payload),
        "correlation_id": _text(options.correlation_id or "/correlation_id"),
        "metadata": _metadata(options.metadata),
    }  # fmt: skip
    if preset is None:
        own |= {
            "renames": _renames(options), "members": _members(options), "retry_attempt": options.payload != "value",
        }  # fmt: skip
        return RecordMapping(**own)  # type: ignore[arg-type]
    return _over(preset, options, own)


def _over(preset: RecordMapping, options: MappingOptions, own: Mapping[str, object]) -> RecordMapping:
    plain = MappingOptions()
    when = (options.timestamp, options.timestamp_zone, options.timestamp_format != plain.timestamp_format or None)
    given = {
        "event_id": options.id, "correlation_id": options.correlation_id, "payload": options.payload,
        "metadata": options.metadata, "timestamp": next((found for found in when if found is not None), None),
    }  # fmt: skip
    chosen = {name: own[name] for name, spec in given.items() if spec is not None}
    return replace(preset, **chosen)  # type: ignore[arg-type]


def _names(options: MappingOptions) -> dict[str, str | None]:
    """Return the member of the value that each part is, None for a part that is no member."""
    specs = {
        "payload": options.payload, "metadata": options.metadata, "event_id": options.id,
        "correlation_id": options.correlation_id,
    }  # fmt: skip
    return {
        part: None if isinstance(spec, Mapping) else compile_source(spec or f"/{part}").member
        for part, spec in specs.items()
    }


def _renames(options: MappingOptions) -> Renames | None:
    """Return the parts that are members, each member once; None where the payload is none."""
    found: dict[str, str] = {}
    for part, name in _names(options).items():
        if name is not None and name not in found.values():
            found[part] = name
    return Renames(found) if "payload" in found else None


def _members(options: MappingOptions) -> MemberMapping | None:
    """Return the mapping of members alone; None where a part is neither a member nor left out."""
    found = _names(options) | {"retry_attempt": "retry_attempt"}
    if options.timestamp not in (RECORD, "none"):
        found["timestamp"] = compile_source(options.timestamp or "/timestamp").member
    left_out = {"correlation_id": options.correlation_id, "metadata": options.metadata}
    names = {part: name for part, name in found.items() if left_out.get(part) != "none"}
    members = {part: name for part, name in names.items() if name is not None}
    plain = options.timestamp_format == "rfc3339" and options.timestamp_zone is None
    convert = None if plain else timestamp_reader(options.timestamp_format, options.timestamp_zone)
    if len(members) < len(names):
        return None
    return compile_members(members, convert, needs_time=options.timestamp is not None and "timestamp" in members)


def _id(spec: str | None) -> Callable[[Document], str]:
    source = compile_source(spec or "/event_id")

    def read(document: Document) -> str:
        text = source.text(document)
        if text is None:
            raise source.missing(document, "id")
        return text

    return read


def _text(spec: str) -> ReadText:
    return compile_source(spec).text


def _timestamp(options: MappingOptions) -> ReadText:
    if options.timestamp in (RECORD, "none"):
        return lambda _document: None
    source = compile_source(options.timestamp or "/timestamp")
    convert = timestamp_reader(options.timestamp_format, options.timestamp_zone)
    required, is_number = options.timestamp is not None, options.timestamp_format != "rfc3339"

    def read(document: Document) -> str | None:
        found = source.value(document)
        if found is None:
            if required:
                raise source.missing(document, "timestamp")
            return None
        if is_number and type(found) is float:
            found = (source.raw(document) or b"").decode()  # a float has 17 digits
        try:
            return convert(found)
        except ValueError as error:
            raise UnmappedError("invalid_timestamp", f"{source.field}: {error}") from None

    return read


def _payload(spec: str | None) -> JsonPart:
    source = compile_source(spec or "/payload")

    def check(document: Document) -> bool:
        found = source.value(document)
        if found is None:
            raise source.missing(document, "payload")
        if spec is None and not isinstance(found, dict):
            raise UnmappedError(
                "invalid_field", "payload: must be a JSON object, or be named: mapping.payload = /payload"
            )
        return True

    return JsonPart(source.raw, check)


def _metadata(spec: str | Mapping[str, str] | None) -> JsonPart:
    if isinstance(spec, Mapping):
        return JsonPart(_collected({name: compile_source(inner) for name, inner in spec.items()}))
    source = compile_source(spec or "/metadata")

    def check(document: Document) -> bool:
        found = source.value(document)
        if found is not None and not isinstance(found, dict):
            raise UnmappedError("invalid_field", f"{source.field}: must be a JSON object or null (mapping.metadata)")
        return found is not None

    return JsonPart(source.raw, check)


def _collected(sources: Mapping[str, Source]) -> ReadJson:
    def raw(document: Document) -> bytes:
        found = {name: source.raw(document) for name, source in sources.items()}
        return json_object({name: raw for name, raw in found.items() if raw is not None})

    return raw
