"""Changes to JSON text: what they do not touch keeps its digits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.app.dlq.format import pretty
from keepstream.schemas.json_text import decode_json, indent_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12,
)  # fmt: skip


@given(JSON, st.booleans(), st.sampled_from([None, 1, 3]))
def test_json_is_indented_as_the_standard_library_does(document: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    assert indent_json(text) == json.dumps(document, indent=2, ensure_ascii=False)


@pytest.mark.parametrize("number", ["1e-999", "1e400", "1.000000000000000001", "0." + "1" * 30, "9" * 5000, "-0.0"])
def test_numbers_keep_their_digits(number: str) -> None:
    assert pretty(f'{{"n":{number}}}'.encode()) == f'{{\n  "n": {number}\n}}'


def test_both_values_of_a_repeated_name_are_shown() -> None:
    assert pretty(b'{"a":1,"a":[]}') == '{\n  "a": 1,\n  "a": []\n}'


@pytest.mark.parametrize("value", [b"", b"{", b'{"a":1} 2', b"\xff", b"[" * 100_000, b'"\n"'])
def test_what_is_not_json_is_refused(value: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        decode_json(value)
