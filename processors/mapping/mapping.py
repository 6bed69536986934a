"""A mapping: a record of another shape becomes an event of the contract's shape, or a rejection that names the path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pydantic_core import from_json

from keepstream.processors.mapping.document import NOT_JSON, Document, UnmappedError, not_json, quoted, value_at
from keepstream.processors.mapping.members import MemberMapping
from keepstream.processors.mapping.renames import Renames
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


def _usable(event_id: str | None) -> str | None:
    """Return an id that a row could have."""
    return event_id if event_id and len(event_id) <= MAX_ID_CHARS and "\0" not in event_id else None
