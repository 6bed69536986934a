"""Changes of a payload leave what was not changed as it was written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.app.dlq.edit import edit_in_editor
from keepstream.app.dlq.format import pretty
from keepstream.app.errors import KeepstreamError
from keepstream.app.web.payload import draft_of, edited_value
from keepstream.processors.replay.json_edit import indent, reformat, set_path
from keepstream.processors.replay.outgoing import ChangeError, apply_changes, diff
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from tests.builders import make_record

VALUE = b'{"id": "\\u00e9", "payload":{"amount":-1,"wei":1.000000000000000001,"big":1e400,"dup":1,"dup":2}}'
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def letter(value: bytes | None, offset: int = 0) -> DeadLetterRecord:
    return DeadLetterRecord(make_record(value, offset, topic="event-dlq"))


def test_a_change_keeps_numbers_escapes_blanks_and_repeated_names() -> None:
    assert apply_changes(VALUE, [("payload.amount", "7")]) == VALUE.replace(b"-1,", b"7,")
    assert apply_changes(VALUE, [("payload.amount", "1.10e999")]) == VALUE.replace(b"-1,", b"1.10e999,")


@pytest.mark.parametrize(
    ("value", "path", "text", "changed"),
    [
        (b'{ "a": [1, 2.50] }', "a.1", "x", b'{ "a": [1, "x"] }'),
        (b"{}", "a", "NaN", b'{"a":"NaN"}'),
        (b'{"a":{ }}', "a.b", '{"c":1}', b'{"a":{"b":{"c":1} }}'),
        (b'{"a":1 }', "b", "\udce4", b'{"a":1,"b":"\\udce4" }'),
        (b'{"a":"}\\"{", "b":1}', "b", "2", b'{"a":"}\\"{", "b":2}'),
    ],
)
def test_a_change_sets_one_value(value: bytes, path: str, text: str, changed: bytes) -> None:
    assert apply_changes(value, [(path, text)]) == changed


@pytest.mark.parametrize(
    ("value", "path", "why"),
    [
        (VALUE, "payload.dup", "'dup' more than once"),
        (VALUE, "payload.amount.x", "no path 'payload.amount.x'"),
        (b"[1]", "1", "no path '1'"),
        (b"\xef\xbb\xbf{}", "a", "not JSON"),
        (b'{"a":NaN}', "b", "not JSON"),
        (None, "a", "not JSON"),
    ],
)
def test_what_cannot_be_kept_is_refused(value: bytes | None, path: str, why: str) -> None:
    with pytest.raises(ChangeError, match=why):
        apply_changes(value, [(path, "1")])


def test_show_and_diff_print_numbers_and_repeated_names_as_they_are() -> None:
    for text in ("1.000000000000000001", "1e400", '"dup": 1', '"dup": 2', '"id": "é"'):
        assert text in pretty(VALUE)
    changed = diff(letter(VALUE), VALUE.replace(b"1e400", b"1e401"))
    assert '-    "big": 1e400,' in changed
    assert '+    "big": 1e401,' in changed


def test_the_console_keeps_what_was_typed() -> None:
    draft = draft_of(letter(b'{"a":1}'), 1000)
    assert edited_value(draft, '{"a": 1.000000000000000001, "b": 1e400}') == b'{"a":1.000000000000000001,"b":1e400}'


WRITTEN = [None, b"", b"\xef\xbb\xbf{}", b"\xff\xfe", b"a\r", b"x", b"{\r\n}", b"\n", b"a\n\n", b"# events-0-1", b"#"]


@pytest.mark.parametrize("value", WRITTEN)
def test_a_value_that_is_saved_untouched_in_the_editor_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch, value: bytes | None
) -> None:
    monkeypatch.setenv("EDITOR", "true")
    assert [*edit_in_editor([letter(value)])] == []
    assert [*edit_in_editor([letter(value), letter(None, 2)])] == []


def test_an_editor_changes_bytes_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "sed -i s/7/8/")
    letters = [letter(None), letter(b"\xef\xbb\xbf\xff7", 1), letter(VALUE, 2)]
    assert [*edit_in_editor(letters)] == [(letters[1], b"\xef\xbb\xbf\xff8")]


def test_a_value_of_several_lines_is_edited_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "sed -i s/-1,/7,\\\\n/")
    pretty_printed = b'{\r\n  "amount": -1,  \n  "wei": 1.000000000000000001, "big": 1e400\n}\n'
    letters = [letter(pretty_printed), letter(VALUE, 1), letter(b"{\n}", 2)]
    assert [*edit_in_editor(letters)] == [
        (letters[0], pretty_printed.replace(b"-1,", b"7,\n")), (letters[1], VALUE.replace(b"-1,", b"7,\n")),
    ]  # fmt: skip


@pytest.mark.parametrize("editor", ["sed -i 1d", "sed -i s/event/x/", "sed -i s/^#/##/", "sed -i p"])
def test_a_changed_line_that_names_a_dead_letter_is_refused(monkeypatch: pytest.MonkeyPatch, editor: str) -> None:
    monkeypatch.setenv("EDITOR", editor)
    with pytest.raises(KeepstreamError, match="lines that name the dead letters"):
        [*edit_in_editor([letter(b"{}"), letter(b"[]", 1)])]


def test_a_value_that_looks_like_such_a_line_is_refused_before_the_editor_opens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDITOR", "false")
    with pytest.raises(KeepstreamError, match="a line like those that name"):
        [*edit_in_editor([letter(b"a\n# event-dlq-0-1\n"), letter(b"x", 1)])]


@given(JSON)
def test_indented_and_reformatted_text_means_the_same(document: Any) -> None:
    text = json.dumps(document)
    assert json.loads(indent(text.encode())) == document
    assert reformat(text, (",", ":")) == json.dumps(document, separators=(",", ":"))


@given(JSON, JSON)
def test_a_set_value_is_the_only_difference(document: Any, value: Any) -> None:
    text = json.dumps({"a": document, "b": [document]})
    assert json.loads(set_path(text, "b.0", json.dumps(value))) == {"a": document, "b": [value]}
    assert json.loads(set_path(text, "c", json.dumps(value))) == {"a": document, "b": [document], "c": value}
