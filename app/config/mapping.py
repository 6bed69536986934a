"""The settings of a mapping: where in a record of another shape the parts of an event are."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from keepstream.app.config.base import Section
from keepstream.processors.mapping.mapping import MappingOptions, RecordMapping, compile_mapping
from keepstream.processors.mapping.presets import PRESETS, Preset
from keepstream.processors.mapping.sources import RECORD, compile_source
from keepstream.processors.mapping.timestamps import Format, find_zone


def _source(spec: str) -> str:
    compile_source(spec)
    return spec


def _time_source(spec: str) -> str:
    return spec if spec == RECORD else _source(spec)


def _zone(name: str) -> str:
    find_zone(name)
    return name


def _sources(given: str | dict[str, str]) -> str | dict[str, str]:
    for spec in [given] if isinstance(given, str) else given.values():
        compile_source(spec)
    return given


Source = Annotated[str, AfterValidator(_source)]


class MappingSettings(Section):
    """Where an event's parts are when producers write another shape: docs/own-events.md.

    A source is a path into the value (``/order/no``), ``header:name``, ``key``, ``value`` (all of it), ``sha256`` (of
    the value), ``constant:text``, ``none``, or text with these in braces (``order-{/order/no}``).
    """

    preset: Preset | None = None
    """A mapping that has a name: ``cloudevents`` (structured and binary), ``dapr``, ``debezium`` (change events) or
    ``debezium-outbox``. Parts that are named here as well replace the preset's."""
    id: Source | None = None
    """Source of the event's id. Integers become text. Default ``/event_id``."""
    timestamp: Annotated[str, AfterValidator(_time_source)] | None = None
    """Source of the timestamp; ``record`` is the record's own. Must be present where it is named here. Default
    ``/timestamp``, which may be absent."""
    timestamp_format: Format = "rfc3339"
    """What the timestamp is: text as in RFC 3339, or a number since 1970 in seconds, milliseconds, microseconds or
    nanoseconds (``epoch_ms``)."""
    timestamp_zone: Annotated[str, AfterValidator(_zone)] | None = None
    """The zone of timestamps that name none, like ``UTC``, ``Europe/Paris``, ``+01:00``. Default none: they are
    rejected."""
    correlation_id: Source | None = None
    """Source of the correlation id. Default ``/correlation_id``."""
    payload: Source | None = None
    """Source of the payload. Any JSON value is stored as it is where it is named here. Default ``/payload``, which
    must be an object."""
    metadata: Annotated[str | dict[str, str], AfterValidator(_sources)] | None = None
    """Source of the metadata, an object; or a table of sources by name. Default ``/metadata``."""

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        self.compile()
        return self

    def compile(self) -> RecordMapping | None:
        """Return the mapping, None where no field is set. Raises ValueError when fields contradict each other."""
        given = self.model_dump(exclude_unset=True, exclude={"preset"})
        preset = PRESETS[self.preset] if self.preset else None
        return compile_mapping(MappingOptions(**given), preset) if given or preset else None
