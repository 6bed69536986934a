"""The contract with producers: the schema of an event, and the rejection of what does not fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, with_config
from typing_extensions import TypedDict  # typing.TypedDict is not enough for pydantic before Python 3.12

from keepstream.schemas.record import MAX_ID_CHARS, Record

MAX_VALUE_BYTES = 1024 * 1024
MAX_RETRY_ATTEMPT = 2**31 - 1  # PostgreSQL's integer

# RFC 3339 with a zone, limited to what PostgreSQL reads the same way: no hour 24, no leap second, zones up to 15:59.
# Java leaves out seconds that are zero, Python's strftime the zone's colon, PostgreSQL the zone's minutes.
RFC3339 = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?"
    r"([Zz]|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)$"
)
STRICT = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True)

NOT_BLANK = r"[^\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
r"""What ``\S`` means to pydantic, by Unicode's White_Space. In JSON Schema, ``\S`` is another."""

EventId = Annotated[
    str, Field(min_length=1, max_length=MAX_ID_CHARS, pattern=r"\S", json_schema_extra={"pattern": NOT_BLANK})
]
Timestamp = Annotated[str, Field(pattern=RFC3339)]
CorrelationId = Annotated[str, Field(max_length=MAX_ID_CHARS)]
RetryAttempt = Annotated[int, Field(ge=0, le=MAX_RETRY_ATTEMPT)]


class Event(BaseModel):
    """One event as a producer writes it, as JSON in the value of a record. Unknown fields are ignored."""

    model_config = ConfigDict(**STRICT, use_attribute_docstrings=True)

    event_id: EventId
    """Globally unique id: the same id again is the same event."""
    payload: dict[str, Any]
    """Any JSON object."""
    metadata: dict[str, Any] | None = None
    """Data about the event."""
    timestamp: Timestamp | None = None
    """When it happened, RFC 3339 with a zone. The newest wins. Absent: the record's Kafka timestamp."""
    correlation_id: CorrelationId | None = None
    """Id shared by related events. Absent: header ``correlation_id``, the trace id of ``traceparent``, the event_id."""
    retry_attempt: Annotated[
        RetryAttempt,
        BeforeValidator(lambda given: 0 if given is None else given, json_schema_input_type=RetryAttempt | None),
    ] = 0
    """Number of earlier attempts by the producer."""


class JsonObject(TypedDict):
    """Any JSON object; its members are not validated."""


@with_config(STRICT)
class Envelope(TypedDict):
    """`Event` for the hot path: a plain dict, in which payload and metadata are checked to be objects and left empty.

    A model instance costs 1.5 us more for an event of 370 bytes, payload and metadata as Python objects another 1.5 us.
    The whole document is parsed either way.
    """

    event_id: EventId
    payload: JsonObject
    metadata: NotRequired[JsonObject | None]
    timestamp: NotRequired[Timestamp | None]
    correlation_id: NotRequired[CorrelationId | None]
    retry_attempt: NotRequired[RetryAttempt | None]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Reason why a record is not an event: a stable code, and a message that names the field."""

    reason: str
    message: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """A record that becomes neither an event nor a dead letter. It is counted as ignored."""


UNDATED, DATED = b',"@undated":true', b',"@undated":false'
"""One of them ends each document: whether the event has no timestamp of its own. A producer's own member of that name
comes before it, so it means nothing."""


@dataclass(slots=True)
class ValidEvent:
    """A record that passed the contract.

    ``document`` is the producer's own JSON object with what the producer left out appended (later keys win in jsonb),
    so that a batch travels to PostgreSQL as one JSON array without being serialised again.
    """

    record: Record
    event_id: str
    timestamp: str
    correlation_id: str
    document: bytes

    @property
    def is_undated(self) -> bool:
        """Whether the timestamp is the record's, because the producer gave none."""
        return self.document.endswith(UNDATED + b"}")


Transform: TypeAlias = Callable[[Event, Record], Event | Rejection | Ignored]
"""A user-supplied transform: a pure function of the event and its record.

It is called again for the same record after a crash, by an audit and by a replay's dry run, so it must not do I/O nor
keep state.
"""


Decode: TypeAlias = Callable[[bytes, Record], bytes]
"""A user-supplied hook that returns what is inside a record's value. Pure, as a transform is; an error rejects the
record."""


class Contract(BaseModel, ABC):
    """A custom schema: its fields are what producers write, `event` maps them to an `Event`.

    A schema that only narrows `Event` (a typed payload) is a subclass of `Event` instead.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    @abstractmethod
    def event(self, record: Record) -> Event | Rejection | Ignored:
        """Return the event, the rejection of the record, or that it is ignored."""

    @classmethod
    def tombstone(cls, record: Record) -> Event | Rejection | Ignored | None:  # noqa: ARG003 - a subclass asks it
        """Return what a record without a value is; None leaves it to the setting ``tombstones``."""
        return None
