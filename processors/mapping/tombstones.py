"""Tombstones that delete: a record without a value becomes a version of its event that is marked as deleted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from keepstream.processors.mapping.document import NOT_JSON, Document, UnmappedError
from keepstream.processors.mapping.mapping import ReadText
from keepstream.processors.mapping.sources import compile_source, reads_value
from keepstream.schemas.event import Ignored, Rejection
from keepstream.schemas.record import MAX_TIMESTAMP_MS, Record

_EPOCH = datetime.fromtimestamp(0, UTC)


def ignore_tombstone(_record: Record) -> Ignored:
    """Ignore the record."""
    return Ignored()


@dataclass(frozen=True, slots=True)
class Deletion:
    """The event with an empty payload and the metadata ``{"deleted": true}``.

    It is a version like any other: an older one deletes no newer row, and a newer event brings the row back. The
    timestamp is the record's own, or a header's where the events have theirs there.
    """

    event_id: ReadText
    timestamp: ReadText | None = None

    def __call__(self, record: Record) -> bytes | Rejection:
        """Return the document, or the rejection of a record that does not say which event it deletes."""
        document = Document(record, b"", NOT_JSON)
        try:
            event_id = self.event_id(document)
            timestamp = self.timestamp(document) if self.timestamp else _time_of(record)
        except UnmappedError as error:
            return Rejection(error.reason, error.message)
        if event_id is None:
            return Rejection("tombstone", "the record has no value (a tombstone) and no id of the event to delete")
        fields = {"event_id": event_id, "payload": {}, "metadata": {"deleted": True}, "timestamp": timestamp}
        return json.dumps(fields).encode()


def compile_id(spec: str) -> ReadText:
    """Compile the source of the id of a deleted event. Raises ValueError for one that needs a value."""
    if reads_value(spec):
        raise ValueError(f"{spec!r} needs a value, which a tombstone has not: write key, header:name or order-{{key}}")
    return compile_source(spec).text


def _time_of(record: Record) -> str | None:
    """Return the record's timestamp; None where it has none, and the record is rejected for that."""
    if not 0 <= record.timestamp <= MAX_TIMESTAMP_MS:
        return None
    return (_EPOCH + timedelta(milliseconds=record.timestamp)).isoformat(timespec="milliseconds")
