"""Custom contracts and transforms: a value in a deployment's own shape is rewritten into keepstream's.

keepstream's contract is checked after that: no event that it refuses is stored, whatever foreign code returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError

from keepstream.processors.validation.rejection import to_rejection
from keepstream.processors.validation.written_numbers import parse_model, to_json
from keepstream.schemas.event import Contract, Event, Ignored, Rejection, Transform
from keepstream.schemas.record import Record

T = TypeVar("T")
_OWN = frozenset(Event.model_fields)
_OPTIONAL = ("metadata", "timestamp", "correlation_id")


@dataclass(frozen=True, slots=True)
class CustomContract:
    """The model of the values that producers write, and a deployment's transforms by name, in order."""

    model: type[Contract | Event] = Event
    transforms: Mapping[str, Transform] = field(default_factory=dict)

    def document(self, record: Record, value: bytes) -> bytes | Rejection | Ignored:
        """Return the value in keepstream's shape; the producer's own bytes where no code changes them."""
        made = _called(self.model.__name__, lambda: self._event(record, value), value)
        return made if isinstance(made, bytes) else self._transformed(made, record, value)

    def tombstone(self, record: Record) -> bytes | Rejection | Ignored | None:
        """Return what the contract makes of a record without a value; None when it leaves that to the settings."""
        model = self.model
        if not issubclass(model, Contract):
            return None
        made = _called(model.__name__, lambda: _answer_of(model.tombstone(record)), b"")
        return None if made is None else self._transformed(made, record, b"")

    def _transformed(
        self, made: Event | Rejection | Ignored, record: Record, value: bytes
    ) -> bytes | Rejection | Ignored:
        if not isinstance(made, Event):
            return made
        for name, transform in self.transforms.items():
            given = made
            made = _called(name, lambda: _event_of(transform(given, record)), value)  # noqa: B023 - called at once
            if not isinstance(made, Event):
                return made
        event = made
        return _called(self.model.__name__, lambda: _json(event), value)

    def _event(self, record: Record, value: bytes) -> Event | Rejection | Ignored | bytes:
        parsed = parse_model(self.model, value)
        if isinstance(parsed, Contract):
            return _event_of(parsed.event(record))
        return parse_model(Event, value) if self.transforms else value


def _called(name: str, foreign: Callable[[], T], value: bytes) -> T | Rejection:
    """Call foreign code. Its errors reject the record: the dead letter can be replayed once the code is fixed."""
    try:
        return foreign()
    except ValidationError as error:
        return to_rejection(error, value)
    except Exception as error:  # noqa: BLE001 - its text is left out: it may quote the event
        return Rejection("contract_failed", f"{name} raised {type(error).__name__}")


def _event_of(returned: object) -> Event | Rejection | Ignored:
    if not isinstance(returned, Event | Rejection | Ignored):
        raise TypeError
    return returned


def _answer_of(returned: object) -> Event | Rejection | Ignored | None:
    return None if returned is None else _event_of(returned)


def _json(event: Event) -> bytes:
    """Return an event as JSON without absent fields."""
    fields = event.model_dump(include=set(_OWN), warnings=False)
    present = {name: value for name, value in fields.items() if value is not None or name not in _OPTIONAL}
    return to_json(present)
