"""A dead letter that is too large for its topic: a small record there refers to the whole one in PostgreSQL.

The pattern is the claim check (Hohpe and Woolf, "Enterprise Integration Patterns", 2003).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from keepstream.schemas.dead_letter import ERROR, MAX_TEXT_BYTES, ORIGIN, PREFIX
from keepstream.schemas.dead_letter_json import from_json_line, to_json_line
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import KafkaRecord

ORIGINAL = PREFIX + "original"
"""The SHA-256 of the original value; with the dead letter's id the key of the whole record in PostgreSQL."""
ORIGINAL_BYTES = PREFIX + "original-bytes"
"""The size of the original value."""
MAX_KEPT_BYTES = 16 * 1024
"""Limit of the key, and of all headers together: what is larger is left out of the claim check too."""


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A whole dead letter as stored outside the topic. ``packed`` is a compressed line of an export."""

    dead_letter_id: str
    sha256: str
    packed: bytes


def pack_dead_letter(record: KafkaRecord) -> StoredDeadLetter:
    """Serialise and compress a whole dead letter."""
    return StoredDeadLetter(
        DeadLetterRecord(record).id, _sha256(record), zlib.compress(to_json_line(record).encode(), 1)
    )


def make_claim_check(record: KafkaRecord) -> KafkaRecord:
    """Return the record to publish instead: no value, the headers of the error, and the stored record's hash."""
    key = record.key if len(record.key or b"") <= MAX_KEPT_BYTES else None
    marks = [(ORIGINAL, _sha256(record).encode()), (ORIGINAL_BYTES, str(len(record.value or b"")).encode())]
    return replace(record, key=key, value=b"", headers=[*_small(record.headers), *marks])


def _small(headers: Sequence[tuple[str, bytes | None]]) -> Sequence[tuple[str, bytes | None]]:
    if sum(len(name) + len(value or b"") for name, value in headers) <= MAX_KEPT_BYTES:
        return headers
    ours = {name: value for name, value in headers if name.startswith(PREFIX) or name in (*ORIGIN, *ERROR)}
    return [(name, value) for name, value in ours.items() if len(value or b"") <= MAX_TEXT_BYTES]


def claim_check_sha256(dead_letter: DeadLetterRecord) -> str | None:
    """Return the SHA-256 of the stored value; None for a dead letter that is no claim check."""
    found = dead_letter.raw(ORIGINAL)
    return found.decode(errors="replace") if found else None


def redeem(dead_letter: DeadLetterRecord, packed: bytes) -> DeadLetterRecord:
    """Return the whole dead letter for a claim check. Raises ValueError when the hash of ``packed`` differs."""
    try:
        whole = from_json_line(zlib.decompress(packed))
    except zlib.error:
        raise ValueError(f"the dead letter {dead_letter.id} in dead_letter_originals is damaged") from None
    if _sha256(whole) != claim_check_sha256(dead_letter):
        raise ValueError(f"the dead letter {dead_letter.id} in dead_letter_originals does not match its SHA-256")
    record = replace(dead_letter.record, key=whole.key, value=whole.value, headers=whole.headers)
    return replace(dead_letter, record=record)


def _sha256(record: KafkaRecord) -> str:
    return hashlib.sha256(record.value or b"").hexdigest()
