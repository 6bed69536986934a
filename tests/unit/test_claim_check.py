"""References to dead letters that are too large for their topic: small, and redeemed byte for byte."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keepstream.schemas.claim_check import claim_check_sha256, make_claim_check, pack_dead_letter, redeem
from keepstream.schemas.dead_letter import dead_letter_headers
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import KafkaRecord
from tests.builders import make_dead_letter, make_record


def published(**changes: Any) -> KafkaRecord:
    """A dead letter as it would be published."""
    letter = make_dead_letter(make_record(offset=7, **changes), event_id="e-7")
    record = letter.record
    headers = dead_letter_headers(letter, "1")
    return KafkaRecord("dlq", 0, 0, record.timestamp, record.key, record.value, headers)


def found(record: KafkaRecord) -> DeadLetterRecord:
    return DeadLetterRecord(replace(record, offset=99))


@example(value=b"x", key=None, headers=[("a\0", b"1")])
@given(
    value=st.one_of(st.none(), st.binary(max_size=200)), key=st.one_of(st.none(), st.binary(max_size=20)),
    headers=st.lists(st.tuples(st.text(max_size=5), st.one_of(st.none(), st.binary(max_size=9))), max_size=9),
)  # fmt: skip
def test_what_was_too_large_comes_back_byte_for_byte(value: Any, key: Any, headers: Any) -> None:
    whole = published(value=value, key=key, headers=headers)
    back = redeem(found(make_claim_check(whole)), pack_dead_letter(whole).packed).record
    readable = [(name.replace("\0", "\ufffd"), header) for name, header in whole.headers]
    assert (back.key, back.value, list(back.headers)) == (whole.key, whole.value, readable)
    assert (back.topic, back.offset) == ("dlq", 99)


@pytest.mark.parametrize(
    "changes",
    [
        {"value": b"x" * 10**6},
        {"value": b"x", "key": b"k" * 10**6},
        {"value": b"x", "headers": [(f"h{i}", b"v" * 1000) for i in range(1000)]},
        {"value": b"x", "headers": [("__connect.errors.topic", b"v" * 10**6)]},
        {"value": b"x", "headers": [("x-original-topic", b"v" * 1000)] * 1000},
    ],
    ids=["value", "key", "headers", "a header named like ours", "repeated ones"],
)
def test_a_reference_is_small_and_still_says_what_died_and_why(changes: dict[str, Any]) -> None:
    whole = published(**changes)
    reference = make_claim_check(whole)
    size = len(reference.key or b"") + sum(len(n) + len(v or b"") for n, v in reference.headers)
    assert size < 24_000
    letter = found(reference)
    assert (letter.id, letter.reason, letter.event_id) == ("events-0-7", "check_violation", "e-7")
    assert claim_check_sha256(letter) == pack_dead_letter(whole).sha256
    assert pack_dead_letter(whole).dead_letter_id == letter.id


def test_a_whole_dead_letter_is_not_a_claim_check() -> None:
    assert claim_check_sha256(found(published())) is None


@pytest.mark.parametrize(
    "packed", [b"", b"garbage", zlib.compress(b"{}"), pack_dead_letter(published(value=b"other")).packed]
)
def test_other_bytes_are_not_taken_for_the_original(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        redeem(found(make_claim_check(published(value=b"this"))), packed)


def test_what_a_producer_names_like_a_reference_is_not_one() -> None:
    """The prefix is ours: it is stripped from what died."""
    assert claim_check_sha256(found(published(headers=[("keepstream.dlq.original", b"x")]))) is None
