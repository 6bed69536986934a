"""A deployment's mapping, and its own contract, transforms and decode hook, imported by name."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.metadata import entry_points

from keepstream.app.config.settings import Settings
from keepstream.app.config.topics import in_topic
from keepstream.app.errors import USAGE, KeepstreamError
from keepstream.processors.validation.decoding import GZIP, Decoder, gunzip
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.event import Contract, Event, Transform

STEPS_GROUP = "keepstream.steps"
"""The group of entry points of transforms."""


def load_contract(settings: Settings, topic: str | None = None) -> Validator:
    """Return the validator of the settings. Raises KeepstreamError (2) when a name cannot be imported.

    ``topic`` is that of several, whose settings the error then names.
    """
    try:
        return _load(settings)
    except KeepstreamError as error:
        if topic is None:
            raise
        raise in_topic(topic, error) from error


def _load(settings: Settings) -> Validator:
    contract = find_contract(settings.contract) if settings.contract else Event
    mapping = settings.mapping
    if mapping.tombstones == "delete" and mapping.tombstone_id is None and issubclass(contract, Contract):
        why = f"the ids of {settings.contract} come from code: name KEEPSTREAM_MAPPING__TOMBSTONE_ID"
        raise _unusable("KEEPSTREAM_MAPPING__TOMBSTONES", "delete", why)
    steps = find_transforms(settings.steps)
    decoder = find_decoder(settings.decode) if settings.decode else None
    return Validator(contract, steps, mapping.compile(), decoder, mapping.tombstone(), mapping.ignores())


def load_contracts(settings: Settings) -> dict[str, Validator]:
    """Return the validator of each topic. Raises KeepstreamError (2) when a name cannot be imported."""
    return {topic: load_contract(own, topic if settings.topics else None) for topic, own in settings.by_topic().items()}


def find_decoder(name: str) -> Decoder:
    """Import ``module:function``, or take the built-in of that name."""
    found = gunzip if name == GZIP else _imported("KEEPSTREAM_DECODE", name)
    if not callable(found):
        raise _unusable("KEEPSTREAM_DECODE", name, "it is no function")
    return Decoder(name, found)


def find_contract(name: str) -> type[Contract | Event]:
    """Import ``module:Class``."""
    found = _imported("KEEPSTREAM_CONTRACT", name)
    if not (isinstance(found, type) and issubclass(found, Contract | Event)):
        raise _unusable("KEEPSTREAM_CONTRACT", name, "it is no subclass of keepstream.Contract or keepstream.Event")
    return found


def _imported(variable: str, name: str) -> object:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # foreign code: an import may raise anything
        raise _unusable(variable, name, f"{type(error).__name__}: {error}") from error


def find_transforms(names: Sequence[str]) -> dict[str, Transform]:
    """Load transforms from their entry points, in the given order."""
    transforms: dict[str, Transform] = {}
    for name in names:
        found = [*entry_points(group=STEPS_GROUP, name=name)]
        if len(found) != 1:
            raise _unusable("KEEPSTREAM_STEPS", name, f"{len(found)} packages have an entry point {STEPS_GROUP}:{name}")
        try:
            transforms[name] = found[0].load()
        except Exception as error:  # the same
            raise _unusable("KEEPSTREAM_STEPS", name, f"{type(error).__name__}: {error}") from error
    return transforms


def _unusable(variable: str, value: str, why: str) -> KeepstreamError:
    hint = "docs/own-events.md describes it"
    return KeepstreamError("bad_settings", f"{variable}: {value!r} cannot be used: {why}", hint, USAGE)
