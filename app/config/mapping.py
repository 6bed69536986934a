"""The settings of a mapping: where in a record of another shape the parts of an event are, and which are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from keepstream.app.config.base import Section
from keepstream.processors.mapping import ignore
from keepstream.processors.mapping.mapping import RecordMapping
from keepstream.processors.mapping.options import PRESETS, MappingOptions, Preset, compile_mapping
from keepstream.processors.mapping.sources import RECORD, compile_source, reads_value
from keepstream.processors.mapping.timestamps import Format, find_zone
from keepstream.processors.mapping.tombstones import Deletion, compile_id, ignore_tombstone
from keepstream.processors.validation.validate import Answer
from keepstream.schemas.record import Record


def _source(spec: str) -> str:
    compile_source(spec)
    return spec


def _time_source(spec: str) -> str:
    return spec if spec == RECORD else _source(spec)


def _source_without_value(spec: str) -> str:
    compile_id(spec)
    return spec


def _zone(name: str) -> str:
    find_zone(name)
    return name


def _sources(given: str | dict[str, str]) -> str | dict[str, str]:
    for spec in [given] if isinstance(given, str) else given.values():
        compile_source(spec)
    return given


Source = Annotated[str, AfterValidator(_source)]
_NO_PARTS = ("ignore", "tombstones", "tombstone_id")
"""Fields that say what is no event, and make no mapping by themselves."""


Tombstones = Literal["dead_letter", "ignore", "delete"]


class IgnoreRule(Section):
    """A condition under which a record is ignored: docs/mapping.md."""

    source: Source
    """A path into the value, ``header:name``, ``key`` or ``value``."""
    equals: str | int | bool | None = None
    """The text, whole number, true or false that is found there."""
    present: bool | None = None
    """Whether something is found there; null is as absent."""

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        self.rule()
        return self

    def rule(self) -> ignore.IgnoreRule:
        """Return the rule. Raises ValueError for one that cannot hold."""
        rule = ignore.IgnoreRule(source=self.source, equals=self.equals, present=self.present)
        ignore.compile_rules([rule])
        return rule


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
    ignore: tuple[IgnoreRule, ...] = ()
    """Records that become neither rows nor dead letters, where one of these conditions holds, as JSON:
    ``[{"source": "/type", "equals": "heartbeat"}, {"source": "header:test", "present": true}]``. They are counted as
    ignored. Default none."""
    tombstones: Tombstones | None = None
    """What a record without a value is: a ``dead_letter``; ``ignore``, counted as ignored; or ``delete``, a newer
    version of its event with an empty payload and the metadata ``{"deleted": true}``. Default ``dead_letter``, and
    ``ignore`` with the preset ``debezium``, whose events of deletes say the same."""
    tombstone_id: Annotated[str, AfterValidator(_source_without_value)] | None = None
    """Source of the id of the event that a tombstone deletes: ``key``, ``header:name``, or text with these in braces.
    Default ``id`` where it can be read without a value, and ``key`` where neither ``id`` nor a preset is set."""

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        self.compile()
        self.tombstone()
        return self

    def compile(self) -> RecordMapping | None:
        """Return the mapping, None where no field is set. Raises ValueError when fields contradict each other."""
        given = self.model_dump(exclude_unset=True, exclude={"preset", *_NO_PARTS})
        preset = PRESETS[self.preset] if self.preset else None
        return compile_mapping(MappingOptions(**given), preset) if given or preset else None

    def tombstone(self) -> Answer | None:
        """Return what is made of a tombstone, None for a dead letter. Raises ValueError for a delete without id."""
        match self.tombstones or ("ignore" if self.preset == "debezium" else "dead_letter"):
            case "dead_letter":
                return None
            case "ignore":
                return ignore_tombstone
        mapping = self.compile()
        is_dated = self.timestamp not in (None, "none", RECORD) and not reads_value(self.timestamp or "")
        return Deletion(compile_id(self._tombstone_id()), mapping.timestamp if mapping and is_dated else None)

    def ignores(self) -> Callable[[Record], bool] | None:
        """Return whether a record is ignored, None where no rule says so."""
        return ignore.compile_rules([rule.rule() for rule in self.ignore]) if self.ignore else None

    def _tombstone_id(self) -> str:
        if self.tombstone_id is not None:
            return self.tombstone_id
        if self.preset is None and (self.id is None or not reads_value(self.id)):
            return self.id or "key"
        raise ValueError(
            'tombstone_id: is required, for a tombstone has no value to read the id from: write "key", "header:name" '
            'or text with them, like "order-{key}"'
        )
