"""A dead letter that is too large for its topic: a small one stands there in its place and says where the whole one is.

The pattern is the claim check (Hohpe and Woolf, "Enterprise Integration Patterns", 2003).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from keepstream.schemas.dead_letter import ERROR, MAX_TEXT_BYTES, ORIGIN, PREFIX
from keepstream.schemas.dead_letter_json import from_json_line, to_json_line
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import KafkaRecord

ORIGINAL = PREFIX + "original"
"""The SHA-256 of the original value; with the letter's id it is the key of the whole letter in PostgreSQL."""
ORIGINAL_BYTES = PREFIX + "original-bytes"
"""The size of the original value."""
MAX_KEPT_BYTES = 16 * 1024
"""A key that is larger than this stays behind too, and original headers where all headers together are."""


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A whole dead letter, as it is kept outside the topic. ``letter`` is a compressed line of an export."""

    letter_id: str
    sha256: str
    letter: bytes


def pack_dead_letter(record: KafkaRecord) -> StoredDeadLetter:
    """Pack a whole dead letter."""
    return StoredDeadLetter(
        DeadLetterRecord(record).id, _sha256(record), zlib.compress(to_json_line(record).encode(), 1)
    )


def make_claim_check(record: KafkaRecord) -> KafkaRecord:
    """Return the letter to publish instead: no value, what says why it died, and which original belongs to it."""
    key = record.key if len(record.key or b"") <= MAX_KEPT_BYTES else None
    marks = [(ORIGINAL, _sha256(record).encode()), (ORIGINAL_BYTES, str(len(record.value or b"")).encode())]
    headers = [*_small(record.headers), *marks]
    return KafkaRecord(record.topic, record.partition, record.offset, record.timestamp, key, b"", headers)


def _small(headers: Sequence[tuple[str, bytes | None]]) -> Sequence[tuple[str, bytes | None]]:
    if sum(len(name) + len(value or b"") for name, value in headers) <= MAX_KEPT_BYTES:
        return headers
    ours = {name: value for name, value in headers if name.startswith(PREFIX) or name in (*ORIGIN, *ERROR)}
    return [(name, value) for name, value in ours.items() if len(value or b"") <= MAX_TEXT_BYTES]


def claim_check_sha256(letter: DeadLetterRecord) -> str | None:
    """Return what names the original of a reference; None for a letter that is whole."""
    found = letter.raw(ORIGINAL)
    return found.decode(errors="replace") if found else None


def restored(letter: DeadLetterRecord, packed: bytes) -> DeadLetterRecord:
    """Put the original in a reference's place. Raises ValueError when these are not the bytes that it names."""
    try:
        here, whole = letter.record, from_json_line(zlib.decompress(packed))
    except zlib.error:
        raise ValueError(f"the original of {letter.id} is damaged") from None
    if _sha256(whole) != claim_check_sha256(letter):
        raise ValueError(f"the original of {letter.id} is not the one that its SHA-256 names")
    return DeadLetterRecord(KafkaRecord(here.topic, here.partition, here.offset, here.timestamp, whole.key, whole.value,
                              whole.headers))  # fmt: skip


def _sha256(record: KafkaRecord) -> str:
    return hashlib.sha256(record.value or b"").hexdigest()
