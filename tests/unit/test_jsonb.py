"""What JSON may say and jsonb cannot hold, or cannot write again."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.processors.validation.jsonb import MAX_WRITTEN_DIGITS, depth, find_unwritable, unholdable


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


def numbers(count: int, number: str, field: str = "payload") -> bytes:
    return b'{"%b":{"x":[%b]}}' % (field.encode(), ",".join([number] * count).encode())


@pytest.mark.parametrize("field", ["payload", "metadata"])
@pytest.mark.parametrize(
    ("count", "number"),
    [(9, "1e131071"), (9, "1E+131071"), (9000, "1e131071"), (12, "-9.25e99999"), (70, "1e-16383"),
     (3500, "1e300"), (9, "1e" + "0" * 30 + "131071")],
)  # fmt: skip
def test_numbers_that_are_too_long_written_out_are_found(count: int, number: str, field: str) -> None:
    found = find_unwritable(numbers(count, number, field))
    assert found
    assert found[0] == "number_out_of_range"
    assert found[1].startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("count", "number"),
    [(7, "1e131071"), (7, "1" + "0" * 131071 + ".5"), (60, "1e-16383"), (3000, "1.7976931348623157e308"),
     (9000, "0e131071"), (9000, '"1e131071"'), (9000, "1e99"), (9000, "0.5")],
)  # fmt: skip
def test_numbers_that_can_be_written_are_fine(count: int, number: str) -> None:
    assert find_unwritable(numbers(count, number)) is None


def test_of_a_repeated_key_the_last_one_counts_as_in_jsonb() -> None:
    assert find_unwritable(b'{"payload":{%b,"x":1}}' % b",".join([b'"x":1e131071'] * 9000)) is None
    assert find_unwritable(b'{"ignored":[%b],"payload":{}}' % b",".join([b"1e131071"] * 9000)) is None


@given(
    st.lists(
        st.tuples(st.from_regex(r"\A-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,9})?\Z"), st.integers(-16000, 131000)),
        min_size=9,
        max_size=40,
    )
)
def test_the_written_length_is_that_of_the_number_without_exponent(parts: list[tuple[str, int]]) -> None:
    texts = [f"{mantissa}e{exponent}" for mantissa, exponent in parts]
    exact = sum(len(f"{Decimal(text):f}".strip("-").replace(".", "")) for text in texts if Decimal(text))
    zeros = sum(len(text) for text in texts if not Decimal(text))
    found = find_unwritable(b'{"payload":{"x":[%b]}}' % ",".join(texts).encode())
    assert (found is not None) == (exact + zeros > MAX_WRITTEN_DIGITS)


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
