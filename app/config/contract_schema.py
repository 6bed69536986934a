"""What a topic accepts under the present settings, for its producers: JSON Schema, and AsyncAPI 3.0."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any

from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

from keepstream.app.config.contract import find_contract
from keepstream.app.config.settings import Settings
from keepstream.app.errors import KeepstreamError
from keepstream.processors.mapping.options import MappingOptions
from keepstream.processors.mapping.schema import RecordSchema, Schema, mapping_schema
from keepstream.processors.validation.contract import MAX_DEPTH
from keepstream.schemas.event import MAX_VALUE_BYTES, Contract, Event

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PARTS = {part.name for part in fields(MappingOptions)}
_BINARY = "A CloudEvent in binary mode: its attributes are headers, its value is the data."
_STRUCTURED = "application/cloudevents+json"


@dataclass(frozen=True)
class Message:
    """One of the forms that a record may have."""

    name: str
    schema: RecordSchema
    content_type: str = "application/json"
    description: str = ""


def json_schema(settings: Settings) -> Schema:
    """Return the schema of a record's value. Values of CloudEvents in binary mode are not described by it."""
    value = {**_messages(settings, "#/$defs/{model}")[0].schema.value}
    value.pop("title", None)
    says = value.pop("description", "")
    head = {"$schema": DIALECT, "title": settings.kafka.topic, "description": f"{_beyond(settings)} {says}".strip()}
    return head | value


def asyncapi(settings: Settings) -> dict[str, Any]:
    """Return an AsyncAPI 3.0 document of the topic. Its version is a hash: it changes when what is accepted does."""
    topic, messages = settings.kafka.topic, _messages(settings, "#/components/schemas/{model}")
    schemas: Schema = {}
    described = {message.name: _described(message, schemas) for message in messages}
    content = json.dumps([described, schemas], sort_keys=True).encode()
    references = {name: {"$ref": f"#/components/messages/{name}"} for name in described}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": topic, "version": hashlib.sha256(content).hexdigest()[:12], "description": _beyond(settings),
        },
        "defaultContentType": "application/json",
        "channels": {
            "topic": {
                "address": topic, "messages": references,
                "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
            },
        },
        "operations": {"consume": {"action": "receive", "channel": {"$ref": "#/channels/topic"}}},
        "components": {"messages": described} | ({"schemas": schemas} if schemas else {}),
    }  # fmt: skip


def _messages(settings: Settings, references: str) -> list[Message]:
    mapping, custom = settings.mapping, settings.contract
    if _is_mapped(settings):
        options = MappingOptions(**mapping.model_dump(exclude_unset=True, include=_PARTS))
        found = mapping_schema(options, mapping.preset, objects=bool(custom or settings.steps))
        if mapping.preset in {"cloudevents", "dapr"} and options == MappingOptions():
            return [
                Message("structuredCloudEvent", found, _STRUCTURED),
                _binary("ce_specversion", "ce_id", "ce_source"),
            ]
        return [Message("event", found)]
    model = find_contract(custom) if custom else Event
    event = Message("event", RecordSchema(_schema_of(model, references)))
    return [event] if custom else [event, _binary("ce_specversion", "ce_id", value={"type": "object"})]


def _is_mapped(settings: Settings) -> bool:
    return bool(settings.mapping.preset or settings.mapping.model_fields_set & _PARTS)


def _binary(*headers: str, value: Schema | None = None) -> Message:
    return Message("binaryCloudEvent", RecordSchema(value or {}, [*headers]), description=_BINARY)


def _schema_of(model: type[Contract | Event], references: str) -> Schema:
    try:
        return model.model_json_schema(ref_template=references)
    except (PydanticInvalidForJsonSchema, PydanticUserError) as error:
        why = str(error).partition("\n")[0]
        hint = "give the field a schema: pydantic's WithJsonSchema"
        raise KeepstreamError("no_schema", f"{model.__name__} has no JSON Schema: {why}", hint) from None


def _described(message: Message, schemas: Schema) -> Schema:
    """Return the message; definitions of its value move to ``schemas``, where AsyncAPI looks for them."""
    value = {**message.schema.value}
    schemas |= value.pop("$defs", {})
    found: Schema = {"name": message.name, "contentType": message.content_type, "payload": value}
    if message.description:
        found["description"] = message.description
    if headers := message.schema.headers:
        properties = {name: {"type": "string"} for name in headers}
        found["headers"] = {"type": "object", "required": headers, "properties": properties}
    if message.schema.key:
        found["bindings"] = {"kafka": {"key": {"type": "string"}, "bindingVersion": "0.5.0"}}
    return found


def _beyond(settings: Settings) -> str:
    """Say what holds beside the schema."""
    limits = f"at most {MAX_VALUE_BYTES:,} bytes and {MAX_DEPTH} levels deep"
    stored = "no NUL character, no NaN, numbers of its numeric"
    sentences = [f"Values are JSON in UTF-8, {limits}, and hold only what PostgreSQL can store: {stored}."]
    if settings.decode:
        sentences.append(f"They are what {settings.decode} makes of the record's bytes.")
    if settings.contract and _is_mapped(settings):
        sentences.append(f"The contract {settings.contract} is checked after the mapping.")
    if settings.steps:
        sentences.append(f"Transforms may reject more: {', '.join(settings.steps)}.")
    return " ".join(sentences)
