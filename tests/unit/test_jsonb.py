"""What JSON may say and jsonb cannot hold."""

from __future__ import annotations

import pytest

from keepstream.processors.validation.jsonb import depth, unholdable


def reason(text: bytes) -> str | None:
    found = unholdable(b'{"x":%b}' % text)
    return found[0] if found else None


@pytest.mark.parametrize(
    "text",
    [
        rb'"\u0000"', rb'"\\\u0000"', rb'"\\\\\u0000"', rb'"a\u0000"', rb'"\u0000\u0000"', rb'"\"\u0000"',
        rb'["\\u0000","\u0000"]', rb'{"\u0000":1}', rb'"\n\u0000"', rb'"\\u0000\u0000"',
    ],
)  # fmt: skip
def test_a_nul_character_is_found(text: bytes) -> None:
    assert reason(text) == "nul_character"


@pytest.mark.parametrize(
    "text", [rb'"\\u0000"', rb'"\\\\u0000"', rb'"u0000"', rb'"\u0001"', rb'["\\","u0000"]', rb'"\\\u0001"']
)
def test_an_escaped_backslash_before_u0000_is_only_text(text: bytes) -> None:
    assert reason(text) is None


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"-Infinity", b"[1,NaN]", b'{"a":NaN,"a":1}', b'{"NaN":NaN}'])
def test_a_number_that_is_not_finite_is_found(text: bytes) -> None:
    assert reason(text) == "not_finite_number"


@pytest.mark.parametrize("text", [b'"NaN"', b'{"Infinity":1}', rb'"\"NaN"', rb'["\\","-Infinity"]'])
def test_nan_inside_a_string_is_only_text(text: bytes) -> None:
    assert reason(text) is None


@pytest.mark.parametrize(
    "text",
    [
        b"0", b"-0", b"1e131071", b"-9.9e131071", b"9" * 131072, b"0.1e131072", b"1e-16383", b"0e-16383", b"0e131072",
        b"0e999999999", b"1" + b"0" * 131071, b"0." + b"1" * 16383, b"0.0e-16382", b"1e+00000000000000000005",
        b"1e-00000000000000000005", b"10e131070",
    ],
)  # fmt: skip
def test_a_number_within_the_limits_is_fine(text: bytes) -> None:
    assert reason(text) is None


@pytest.mark.parametrize(
    "text",
    [
        b"1e131072", b"-1e131072", b"10e131071", b"9" * 131073, b"1e-16384", b"0e-16384", b"0.0e-16383",
        b"0." + b"1" * 16384, b"1e1073741823", b"0e1073741823", b"1e99999999999999999999", b"1e-99999999999999999999",
        b"[1,1e131072]",
    ],
)  # fmt: skip
def test_a_number_beyond_the_limits_is_found(text: bytes) -> None:
    assert reason(text) == "number_out_of_range"


def test_digits_inside_a_string_are_only_text() -> None:
    assert reason(b'"' + b"9" * 131073 + b'"') is None
    assert reason(b'{"1e999999":1}') is None


def test_the_message_holds_nothing_of_the_value() -> None:
    found = unholdable(b'{"s3cret":"s3cret\\u0000"}')
    assert found
    assert "s3cret" not in found[1]


@pytest.mark.parametrize(
    ("value", "levels"),
    [
        (b"1", 0),
        (b"[]", 1),
        (b"[[],[[]],{}]", 3),
        (b'{"a":{"b":[1]}}', 3),
        (b'"[[[["', 0),
        (rb'["\"[[[",{}]', 2),
        (rb'["\\",[]]', 2),
        (b'{"[[":"]]","{":[]}', 2),
        (b"[" * 500, 500),
    ],
)
def test_depth_counts_brackets_outside_strings(value: bytes, levels: int) -> None:
    assert depth(value) == levels
