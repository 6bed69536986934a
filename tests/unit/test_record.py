"""Record ids: written and parsed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.schemas.record import parse_record_id, record_id
from tests.builders import make_record


@given(st.text(), st.integers(0, 2**31 - 1), st.integers(0, 10**18 - 1))
def test_an_id_is_parsed_to_the_coordinates_it_was_made_of(topic: str, partition: int, offset: int) -> None:
    record = make_record(b"", offset, topic=topic, partition=partition)
    assert parse_record_id(record_id(record)) == (topic, partition, offset)


@pytest.mark.parametrize(
    "text",
    ["", "orders", "orders-1", "orders-1-", "orders-1-x", "orders-2147483648-1", "orders-0-1" + "0" * 18, "o-1-²"],
)
def test_what_is_not_a_record_id_has_no_coordinates(text: str) -> None:
    assert parse_record_id(text) == (None, None, None)
