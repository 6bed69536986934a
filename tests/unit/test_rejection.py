"""How a refusal is put into words."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from keepstream.processors.validation.rejection import to_rejection, usable_event_id
from keepstream.schemas.event import Event, Rejection


def rejection(value: bytes) -> Rejection:
    with pytest.raises(ValidationError) as caught:
        Event.model_validate_json(value)
    return to_rejection(caught.value, value)


@pytest.mark.parametrize(
    ("value", "event_id"),
    [
        (b'{"event_id":"e"}', "e"),
        (b'{"event_id":"a","event_id":"b"}', "b"),
        (b'{"event_id":""}', None),
        (b'{"event_id":5}', None),
        (b'{"event_id":"\\u0000"}', None),
        (b'{"event_id":"%b"}' % (b"x" * 256), None),
        (b'["event_id"]', None),
        (b"{", None),
        (b"\xff", None),
    ],
)
def test_an_event_id_is_usable_when_a_row_could_have_it(value: bytes, event_id: str | None) -> None:
    assert usable_event_id(value) == event_id


def test_the_first_bad_field_is_the_one_that_is_named() -> None:
    found = rejection(b'{"event_id":5,"payload":[]}')
    assert found == Rejection("invalid_field", "event_id: input should be a valid string")


def test_where_the_json_breaks_is_told_by_line_and_column() -> None:
    assert rejection(b'{\n"event_id" 5}').message == "the value is not JSON: expected `:` at line 2 column 12"


def test_bytes_that_are_not_utf8_are_told_by_position() -> None:
    found = rejection(b'{"event_id":"\xff"}')
    assert found == Rejection("invalid_utf8", "the value is not UTF-8: byte 13 cannot be decoded")


def test_a_number_python_cannot_read_is_not_called_bad_json() -> None:
    found = rejection(b'{"event_id":"e","payload":{"x":%b}}' % (b"1" * 5000))
    assert found.reason == "number_out_of_range"
    assert found.message.startswith("a number has more digits than are accepted")


def test_half_a_surrogate_pair_is_not_called_bad_json() -> None:
    assert rejection(rb'{"event_id":"\ud800"}').reason == "lone_surrogate"
    assert rejection(rb'{"event_id":"\u12"}').reason == "invalid_json"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"event_id":"e"}', Rejection("missing_field", "payload: is required and absent", "e")),
        (b"[]", Rejection("not_an_object", "the value is valid JSON but not an object", None)),
        (
            b"\xef\xbb\xbf{}",
            Rejection("invalid_json", "the value starts with a byte order mark, which JSON does not allow"),
        ),
    ],
)
def test_a_refusal_is_told_in_full(value: bytes, expected: Rejection) -> None:
    assert rejection(value) == expected


def test_an_event_id_may_be_255_characters_long() -> None:
    assert usable_event_id(b'{"event_id":"%b"}' % (b"x" * 255)) == "x" * 255
