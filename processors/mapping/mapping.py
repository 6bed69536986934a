"""A mapping: a record of another shape becomes an event of the contract's shape, or a rejection that names the path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from pydantic_core import from_json

from keepstream.processors.mapping.document import (
    NOT_JSON,
    Document,
    UnmappedError,
    json_object,
    not_json,
    quoted,
    value_at,
)
from keepstream.processors.mapping.members import MemberMapping, compile_members
from keepstream.processors.mapping.renames import Renames
from keepstream.processors.mapping.sources import RECORD, Source, compile_source
from keepstream.processors.mapping.timestamps import Format, timestamp_reader
from keepstream.schemas.event import Rejection
from keepstream.schemas.record import MAX_ID_CHARS, Record

ReadText = Callable[[Document], str | None]
ReadJson = Callable[[Document], bytes | None]
_ATTEMPT = ("retry_attempt",)


Mapped = tuple[bytes, dict[str, object]]
"""An event in the contract's shape: the document as JSON, and its fields beside payload and metadata."""


class JsonPart(NamedTuple):
    """Payload or metadata."""

    raw: ReadJson
    """Return the JSON text, None when it is absent."""
    check: Callable[[Document], bool] = lambda _document: True
    """Return False when it is absent. Raises UnmappedError where it cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordMapping:
    """How to read each part of an event. Pure; a function returns None where an optional part is absent."""

    event_id: Callable[[Document], str]
    timestamp: ReadText
    correlation_id: ReadText
    payload: JsonPart
    metadata: JsonPart
    renames: Renames | None = None
    """The parts that are members of the value: they stay where they are. Anything else is cut out, or appended."""
    members: MemberMapping | None = None
    """Reads what needs nothing else, three times as fast."""
    retry_attempt: bool = False
    """Whether the member ``retry_attempt`` of the value is the event's, as in the contract."""
    any_value: bool = False
    """Whether a record without a value, or with one that is not JSON, may be an event: CloudEvents are described in
    headers."""

    def apply(self, record: Record, value: bytes) -> Mapped | Rejection:
        """Return the event, or the rejection of a record that lacks what the mapping asks for."""
        try:
            root = from_json(value)
        except ValueError:
            if not self.any_value:
                return not_json(value)
            root = NOT_JSON
        document = Document(record, value, root)
        event_id = None
        try:
            event_id = self.event_id(document)
            fields: dict[str, object] = {
                "event_id": event_id, "timestamp": self.timestamp(document),
                "correlation_id": self.correlation_id(document),
            }  # fmt: skip
            text = self._text(document, fields)
        except UnmappedError as error:
            return Rejection(error.reason, error.message, _usable(event_id))
        if self.retry_attempt and type(root) is dict and root.get("retry_attempt") is not None:
            fields["retry_attempt"] = root["retry_attempt"]
        return text, fields

    def _text(self, document: Document, fields: Mapping[str, object]) -> bytes:
        """Return the event as JSON; of equal members the later wins in jsonb."""
        self.payload.check(document)
        has_metadata = self.metadata.check(document)
        pieces, inside = self._in_place(document)
        if "payload" not in inside:
            pieces, inside = self._cut_out(document), frozenset()
        if "metadata" not in inside:
            metadata = self.metadata.raw(document) if has_metadata else None
            pieces.append(b',"metadata":%b' % (metadata or b"null"))
        for name, found in fields.items():
            if found is not None and not (name in inside and self._is_text(document, name)):
                pieces.append(b',"%b":%b' % (name.encode(), quoted(found)))  # type: ignore[arg-type]  # these are text
        pieces.append(b"}")
        return b"".join(pieces)

    def _is_text(self, document: Document, part: str) -> bool:
        """Whether the member that is this part is text already, and no number."""
        return self.renames is not None and type(document.root[self.renames.names[part]]) is str

    def _in_place(self, document: Document) -> tuple[list[bytes], frozenset[str]]:
        """Return the value without its closing brace, with those members renamed that can be, and what they are now."""
        if self.renames is None or type(document.root) is not dict:
            return [], frozenset()
        return self.renames.pieces(document.value, self.renames.present(document.root))

    def _cut_out(self, document: Document) -> list[bytes]:
        pieces = [b'{"payload":', self.payload.raw(document) or b"null"]
        if self.retry_attempt and value_at(document.root, _ATTEMPT) is not None:
            pieces += [b',"retry_attempt":', document.raw(_ATTEMPT)]
        return pieces


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


def _usable(event_id: str | None) -> str | None:
    """Return an id that a row could have."""
    return event_id if event_id and len(event_id) <= MAX_ID_CHARS and "\0" not in event_id else None
