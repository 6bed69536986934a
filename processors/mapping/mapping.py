"""A mapping: a record of another shape becomes an event of the contract's shape, or a rejection that names the path."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from pydantic_core import from_json

from keepstream.processors.mapping.document import (
    NOT_JSON,
    Document,
    UnmappedError,
    is_plain,
    not_json,
    rename_member,
    value_at,
)
from keepstream.processors.mapping.sources import RECORD, Source, compile_source
from keepstream.processors.mapping.timestamps import Format, timestamp_reader
from keepstream.schemas.event import Rejection
from keepstream.schemas.record import MAX_ID_CHARS, Record

ReadText = Callable[[Document], str | None]
ReadJson = Callable[[Document], bytes | None]
_ATTEMPT = ("retry_attempt",)
_PAYLOAD, _METADATA = b'"payload"', b'"metadata"'
_quote: Callable[[str], str] = json.encoder.encode_basestring_ascii


Mapped = tuple[bytes, dict[str, object]]
"""An event in the contract's shape: the document as JSON, and its fields beside payload and metadata."""


class JsonPart(NamedTuple):
    """Payload or metadata. A member of the value stays where it is and is renamed; anything else is cut out."""

    raw: ReadJson
    """Return the JSON text, None when it is absent."""
    check: Callable[[Document], bool] = lambda _document: True
    """Return False when it is absent. Raises UnmappedError where it cannot be used."""
    member: bytes | None = None
    """The quoted name of the member that it is, where it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordMapping:
    """How to read each part of an event. Pure; a function returns None where an optional part is absent."""

    event_id: Callable[[Document], str]
    timestamp: ReadText
    correlation_id: ReadText
    payload: JsonPart
    metadata: JsonPart
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
            timestamp, correlation_id = self.timestamp(document), self.correlation_id(document)
            body = self._body(document)
        except UnmappedError as error:
            return Rejection(error.reason, error.message, _usable(event_id))
        fields: dict[str, object] = {"event_id": event_id, "timestamp": timestamp, "correlation_id": correlation_id}
        tail = f',"event_id":{_quote(event_id)}'
        if timestamp is not None:
            tail += f',"timestamp":{_quote(timestamp)}'
        if correlation_id is not None:
            tail += f',"correlation_id":{_quote(correlation_id)}'
        if self.retry_attempt and type(root) is dict and root.get("retry_attempt") is not None:
            fields["retry_attempt"] = root["retry_attempt"]
        return b"%b%b}" % (body, tail.encode()), fields

    def _body(self, document: Document) -> bytes:
        """Return an object with payload and metadata, without its closing brace; later members win in jsonb."""
        self.payload.check(document)
        has_metadata = self.metadata.check(document)
        body = self._renamed(document, with_metadata=has_metadata)
        if body is None:
            body = b'{"payload":%b' % (self.payload.raw(document) or b"null")
            if self.retry_attempt and value_at(document.root, _ATTEMPT) is not None:
                body += b',"retry_attempt":%b' % document.raw(_ATTEMPT)
        elif has_metadata and self.metadata.member:
            return body
        metadata = self.metadata.raw(document) if has_metadata else None
        return b'%b,"metadata":%b' % (body, metadata or b"null")

    def _renamed(self, document: Document, *, with_metadata: bool) -> bytes | None:
        """Return the value itself with its members renamed: a third of the work of cutting them out."""
        value, name, inner = document.value, self.payload.member, self.metadata.member if with_metadata else None
        if name is None or name == inner:
            return None
        renamed: bytes | None = value
        if name != _PAYLOAD:
            renamed = (
                None if "payload" in document.root or not is_plain(value) else rename_member(value, name, _PAYLOAD)
            )
        if renamed is not None and inner not in (None, _METADATA):
            unique = "metadata" not in document.root and is_plain(value)
            renamed = rename_member(renamed, inner, _METADATA) if unique else None
        return renamed and (renamed[:-1] if renamed[-1:] == b"}" else renamed.rstrip(b" \t\r\n")[:-1])


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
        return RecordMapping(**own, retry_attempt=options.payload != "value")  # type: ignore[arg-type]
    return _over(preset, options, own)


def _over(preset: RecordMapping, options: MappingOptions, own: Mapping[str, object]) -> RecordMapping:
    plain = MappingOptions()
    when = (options.timestamp, options.timestamp_zone, options.timestamp_format != plain.timestamp_format or None)
    given = {
        "event_id": options.id, "correlation_id": options.correlation_id, "payload": options.payload,
        "metadata": options.metadata, "timestamp": next((found for found in when if found is not None), None),
    }  # fmt: skip
    chosen = {name: own[name] for name, spec in given.items() if spec is not None}
    for name, part in chosen.items():
        if isinstance(part, JsonPart):
            chosen[name] = part._replace(member=None)
    return replace(preset, **chosen)  # type: ignore[arg-type]


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

    return JsonPart(source.raw, check, _member(source))


def _metadata(spec: str | Mapping[str, str] | None) -> JsonPart:
    if isinstance(spec, Mapping):
        return JsonPart(_collected({name: compile_source(inner) for name, inner in spec.items()}))
    source = compile_source(spec or "/metadata")

    def check(document: Document) -> bool:
        found = source.value(document)
        if found is not None and not isinstance(found, dict):
            raise UnmappedError("invalid_field", f"{source.field}: must be a JSON object or null (mapping.metadata)")
        return found is not None

    return JsonPart(source.raw, check, _member(source))


def _member(source: Source) -> bytes | None:
    return b'"%b"' % source.member.encode() if source.member else None


def _collected(sources: Mapping[str, Source]) -> ReadJson:
    def raw(document: Document) -> bytes:
        found = {name: source.raw(document) for name, source in sources.items()}
        return json_object({name: raw for name, raw in found.items() if raw is not None})

    return raw


def json_object(members: Mapping[str, bytes]) -> bytes:
    """Return the text of an object from the text of its members."""
    return b"{%b}" % b",".join(b"%b:%b" % (json.dumps(name).encode(), raw) for name, raw in members.items())


def _usable(event_id: str | None) -> str | None:
    """Return an id that a row could have."""
    return event_id if event_id and len(event_id) <= MAX_ID_CHARS and "\0" not in event_id else None
