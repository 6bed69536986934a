"""Propose the mapping under which most of a topic's records would be events."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic_core import from_json

from keepstream.processors.mapping.options import PRESETS, MappingOptions, compile_mapping
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.record import Record, header, text_of

Options = dict[str, str]
"""A mapping as it is written in the settings, in the order of its lines."""

SAMPLE = 1000
_IDS = (
    "/event_id", "/eventId", "/eventID", "/event/id", "/id", "/uuid", "/_id", "/guid", "/messageId", "/message_id",
    "header:id", "header:event_id", "header:message-id",
)  # fmt: skip
_TIMES = (
    "/timestamp", "/time", "/ts", "/ts_ms", "/eventTime", "/event_time", "/occurredAt", "/occurred_at", "/createdAt",
    "/created_at", "/created", "/updatedAt", "/updated_at", "/date", "/@timestamp", "/publishedAt",
)  # fmt: skip
_CORRELATIONS = ("/correlation_id", "/correlationId", "header:correlation-id", "header:correlationId")
_PAYLOADS = ("/payload", "/data", "/body", "/detail")
_METADATA = ("/metadata", "/meta", "/headers")
_UNITS = {10: "epoch_s", 13: "epoch_ms", 16: "epoch_us", 19: "epoch_ns"}
_WITHOUT_ZONE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?")


def suggest(records: Sequence[Record]) -> tuple[Options, int]:
    """Return the best mapping and how many of the records it accepts; fewer lines win among equals."""
    best: tuple[Options, int] = {}, -1
    for options in _candidates(records[:SAMPLE]):
        accepted = _accepted(options, records)
        if accepted > best[1]:
            best = options, accepted
    return best


def to_toml(options: Options, topic: str | None = None, *, several: bool = False) -> str:
    """Return the sections of ``keepstream.toml``: the topic, where one was read, and the mapping."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    if several:
        return "\n".join([f"[keepstream.topics.{json.dumps(topic or 'NAME')}.mapping]", *lines])
    about = ["[keepstream.kafka]", f"topic = {json.dumps(topic)}", ""] if topic else []
    return "\n".join([*about, "[keepstream.mapping]", *lines])


def _accepted(options: Options, records: Sequence[Record]) -> int:
    given = {name: value for name, value in options.items() if name != "preset"}
    preset = next((made for name, made in PRESETS.items() if name == options.get("preset")), None)
    mapping = compile_mapping(MappingOptions(**given), preset)  # type: ignore[arg-type]
    validate = Validator(mapping=mapping).validate
    return sum(isinstance(validate(record), ValidEvent) for record in records)


def _candidates(records: Sequence[Record]) -> Iterator[Options]:
    roots = [(record, root) for record in records if (root := _parsed(record)) is not None]
    guessed = _guess(roots)
    presets = ["cloudevents", "debezium"]
    if any(isinstance(root, dict) and "pubsubname" in root for _, root in roots):
        presets = ["dapr", "cloudevents"]
    yield from ({"preset": name} for name in presets)
    if guessed.get("id") == "header:id":
        times = {name: value for name, value in guessed.items() if name.startswith("timestamp")}
        yield {"preset": "debezium-outbox", **times}
    yield guessed
    yield guessed | {"id": "sha256"}


def _guess(roots: Sequence[tuple[Record, Any]]) -> Options:
    """Choose for each part the usual name that most of the records have."""
    options = {"id": _commonest(_IDS, roots) or "sha256"}
    when = _commonest(_TIMES, roots)
    if when:
        options["timestamp"] = when
        options |= _form([_value(when, *found) for found in roots])
    correlation = _commonest(_CORRELATIONS, roots)
    if correlation and correlation != "/correlation_id":
        options["correlation_id"] = correlation
    options["payload"] = _commonest(_PAYLOADS, roots) or "value"
    metadata = _commonest(_METADATA, roots, lambda found: isinstance(found, dict))
    if metadata is None or options["payload"] == "value":
        options["metadata"] = "none"
    elif metadata != "/metadata":
        options["metadata"] = metadata
    return _without_defaults(options, roots)


def _without_defaults(options: Options, roots: Sequence[tuple[Record, Any]]) -> Options:
    """Leave out the lines that say what holds without them."""
    plain = {"id": "/event_id", "timestamp": "/timestamp"}
    if all(isinstance(_value("/payload", *found), dict) for found in roots):
        plain["payload"] = "/payload"
    if all(_value("/metadata", *found) is None for found in roots):
        plain["metadata"] = "none"
    return {name: spec for name, spec in options.items() if spec != plain.get(name)} or {"id": "/event_id"}


def _form(values: Sequence[object]) -> Options:
    """Return the format of most of the timestamps; UTC where they name no zone."""
    forms = Counter(_form_of(value) for value in values if value is not None)
    form = forms.most_common(1)[0][0]
    if form == "local":
        return {"timestamp_zone": "UTC"}
    return {} if form == "rfc3339" else {"timestamp_format": form}


def _form_of(value: object) -> str:
    if isinstance(value, str) and not value.lstrip("-").replace(".", "", 1).isdigit():
        return "local" if _WITHOUT_ZONE.fullmatch(value) else "rfc3339"
    digits = len(str(value).lstrip("-").partition(".")[0])
    return _UNITS.get(digits, "rfc3339")


def _commonest(
    sources: Sequence[str], roots: Sequence[tuple[Record, Any]], fits: Callable[[object], bool] = lambda _found: True
) -> str | None:
    """Return the source that most of the records have, None where not half of them have one."""
    counts = {spec: sum((v := _value(spec, *found)) is not None and fits(v) for found in roots) for spec in sources}
    best = max(sources, key=lambda spec: counts[spec])
    return best if counts[best] * 2 > len(roots) else None


def _value(spec: str, record: Record, root: object) -> object:
    if spec.startswith("header:"):
        return header(record, spec.removeprefix("header:"))
    for name in spec[1:].split("/"):
        root = root.get(name) if isinstance(root, dict) else None
    return root


def _parsed(record: Record) -> object:
    try:
        return from_json(record.value or b"null") if text_of(record.value) else None
    except ValueError:
        return None
