"""A value whose members are the parts of an event: parsed, checked and renamed in one pass, as most mappings allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired

from pydantic import AliasChoices, Field, StrictInt, TypeAdapter, with_config
from typing_extensions import TypedDict

from keepstream.processors.mapping.document import quoted
from keepstream.processors.mapping.renames import Renames
from keepstream.processors.mapping.timestamps import Read
from keepstream.schemas.event import STRICT, CorrelationId, Envelope, EventId, JsonObject, RetryAttempt, Timestamp

_SHORT = 10**18
_Integer = Annotated[StrictInt, Field(gt=-_SHORT, lt=_SHORT)]
_TYPES: dict[str, Any] = {
    "event_id": Annotated[EventId | _Integer, Field(union_mode="left_to_right")],
    "timestamp": Timestamp | None,
    "correlation_id": Annotated[CorrelationId | _Integer | None, Field(union_mode="left_to_right")],
    "payload": JsonObject,
    "metadata": JsonObject | None,
    "retry_attempt": RetryAttempt | None,
}
_REQUIRED = ("event_id", "payload")
_TEXTS = ("event_id", "correlation_id")
_TAKEN = "@taken"


@dataclass(frozen=True, slots=True)
class MemberMapping:
    """Reads the records of which every part is a member of its own. The rest is left to the general mapping."""

    parse: Callable[[bytes], dict[str, Any]]
    renames: Renames
    read_time: Read | None
    """Converts the timestamp; None where the contract's own form is written."""
    needs_time: bool

    def read(self, value: bytes) -> tuple[bytes, Envelope] | None:
        """Return the event's JSON and its checked fields; None for what fails, or takes more than one pass.

        The general mapping gives the same verdict on what this one accepts, and a reason for what it does not.
        """
        try:
            event = self.parse(value)
            time = event.get("timestamp")
            converted = self.read_time(time) if time is not None and self.read_time else None
        except ValueError:
            return None
        pieces, inside = self.renames.pieces(value, tuple(event))
        if "payload" not in inside or ("metadata" in event and "metadata" not in inside) or _TAKEN in event:
            return None
        if converted:
            event["timestamp"] = converted
            pieces.append(b',"timestamp":%b' % quoted(converted))
        elif time is None and self.needs_time:
            return None
        for part in _TEXTS:
            if (found := event.get(part)) is not None and (part not in inside or type(found) is int):
                event[part] = text = str(found)
                pieces.append(b',"%b":%b' % (part.encode(), quoted(text)))
        pieces.append(b"}")
        return b"".join(pieces), event  # type: ignore[return-value]  # the fields of an envelope


def compile_members(names: Mapping[str, str], read_time: Read | None, *, needs_time: bool) -> MemberMapping | None:
    """Compile the mapping of which part is which member; None where members have two uses, or need another reading."""
    sources = {*names.values()}
    if len(sources) < len(names) or not {*_REQUIRED} <= names.keys():
        return None
    if any(name in _TYPES and name != part for part, name in names.items()):
        return None
    renames = Renames({part: name for part, name in names.items() if part != "timestamp" or read_time is None})
    if len(renames.names) < len(names) - (read_time is not None and "timestamp" in names):
        return None
    types = _TYPES | ({"timestamp": int | str | None} if read_time else {})  # a fraction has more digits than a float
    fields = {
        part: Annotated[types[part], Field(validation_alias=name)]
        if part in _REQUIRED
        else NotRequired[Annotated[types[part], Field(validation_alias=name)]]
        for part, name in names.items()
    }
    taken = [part for part in _TYPES if part not in sources]
    if taken:
        fields[_TAKEN] = NotRequired[Annotated[Any, Field(validation_alias=AliasChoices(*taken))]]
    adapter = TypeAdapter(with_config(STRICT)(TypedDict("Members", fields)))  # type: ignore[operator]
    return MemberMapping(adapter.validator.validate_json, renames, read_time, needs_time)
