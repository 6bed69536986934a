"""What is inside a record's value: compressed JSON, or JSON in a frame, made plain before mapping and contract."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from keepstream.schemas.event import MAX_VALUE_BYTES, Decode, Rejection
from keepstream.schemas.record import KafkaRecord, Record

GZIP = "gzip"
_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31  # of zlib: the largest window, and a header of gzip
_LARGEST = MAX_VALUE_BYTES + 1


def gunzip(value: bytes, _record: Record) -> bytes:
    """Decompress gzip, no further than one byte beyond the contract's limit. Other values pass as they are."""
    if not value.startswith(_MAGIC):
        return value
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    decoded = inflater.decompress(value, _LARGEST)
    if len(decoded) < _LARGEST and (not inflater.eof or inflater.unused_data):
        raise ValueError("cut short, or something follows it")
    return decoded


@dataclass(frozen=True, slots=True)
class Decoder:
    """A hook with the name that its dead letters give it."""

    name: str
    decode: Decode

    def decoded(self, record: Record) -> Record | Rejection:
        """Return the record with its decoded value; one without a value as it is."""
        if not record.value:
            return record
        try:
            value: object = self.decode(record.value, record)
        except Exception as error:  # noqa: BLE001 - foreign code; its text is left out: it may quote the event
            return Rejection("decode_failed", f"decode hook {self.name} raised {type(error).__name__}")
        if not isinstance(value, bytes):
            return Rejection("decode_failed", f"decode hook {self.name} returned {type(value).__name__}, not bytes")
        return KafkaRecord(
            record.topic, record.partition, record.offset, record.timestamp, record.key, value, record.headers
        )
