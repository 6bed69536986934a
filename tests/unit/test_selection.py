"""One selector language: conditions that all must hold, values that are alternatives."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.processors.replay.selection import (
    Selection,
    SelectorError,
    json_path,
    parse_condition,
    parse_time,
    selection_from,
)
from keepstream.schemas.dead_letter import dead_letter_headers
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from tests.builders import make_dead_letter, make_record, make_value

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
VALUE = make_value(event_id="e-1", payload={"order": {"lines": [{"sku": "a"}, {"sku": "b"}]}, "paid": True})


def letter(**changes: Any) -> DeadLetterRecord:
    """Letter events-3-42, at dlq-1-7, which died at noon in the step store."""
    source = make_record(VALUE, 42, partition=3, key=b"k-1")
    headers = dead_letter_headers(make_dead_letter(source, event_id="e-1"), "1")
    return DeadLetterRecord(replace(source, topic="dlq", partition=1, offset=7, headers=headers, **changes))


HOLDS: dict[str, list[Any]] = {
    "ids": [("events-3-42",), ("dlq-1-7",), ("x", "events-3-42")],
    "event_ids": [("e-1",), ("e-2", "e-1")],
    "keys": [("k-1",)],
    "steps": [("store",), ("validate", "store")],
    "reasons": [("check_violation",)],
    "verdicts": [("record",)],
    "sqlstates": [("23514",)],
    "origins": [("events",), ("orders", "events")],
    "since": [NOW, NOW - HOUR],
    "until": [NOW + HOUR],
    "partitions": [(1,), (0, 1)],
    "from_offset": [0, 7],
    "where": [(("payload.paid", "true"),), (("payload.order.lines.1.sku", "b"), ("event_id", "e-1"))],
}
FAILS: dict[str, list[Any]] = {
    "ids": [("events-3-4",), ("e-1",)],
    "event_ids": [("e",)],
    "keys": [("k",)],
    "steps": [("validate",)],
    "reasons": [("check",)],
    "verdicts": [("exhausted",)],
    "sqlstates": [("22P02",)],
    "origins": [("events~1",), ("event",)],
    "consumer_groups": [("billing",)],
    "since": [NOW + HOUR],
    "until": [NOW, NOW - HOUR],
    "partitions": [(0, 3)],
    "from_offset": [8],
    "where": [(("payload.paid", "True"),), (("payload.order.lines.2.sku", "b"),), (("event_id", "e-1"), ("x", "y"))],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in HOLDS.items() for value in values])
def test_a_condition_that_holds_selects(name: str, value: Any) -> None:
    assert Selection(**{name: value}).matches(letter())


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in FAILS.items() for value in values])
def test_a_condition_that_fails_leaves_out(name: str, value: Any) -> None:
    assert not Selection(**{name: value}).matches(letter())


def test_a_letter_of_another_system_is_selected_by_its_consumer_group() -> None:
    other = DeadLetterRecord(make_record(headers=[("source_topic", b"orders"), ("source_consumer_group", b"billing")]))
    assert Selection(origins=("orders",), consumer_groups=("mail", "billing")).matches(other)
    assert not Selection(consumer_groups=("mail",)).matches(other)


def test_nothing_given_selects_everything() -> None:
    assert Selection().matches(letter())
    assert Selection().matches(DeadLetterRecord(make_record(None, key=None)))


@given(st.lists(st.sampled_from(sorted(HOLDS)), unique=True), st.sampled_from(sorted(FAILS)))
def test_one_condition_that_fails_is_enough(holding: list[str], failing: str) -> None:
    given_ = {name: HOLDS[name][0] for name in holding}
    assert Selection(**given_).matches(letter())
    assert not Selection(**given_ | {failing: FAILS[failing][0]}).matches(letter())


def test_a_selection_is_written_down_without_what_is_empty() -> None:
    assert json.loads(Selection().as_json()) == {}
    written = json.loads(Selection(steps=("store",), since=NOW, from_offset=0, where=(("a", "b"),)).as_json())
    assert written == {
        "steps": ["store"], "since": "2026-11-24 12:00:00+00:00", "from_offset": 0, "where": [["a", "b"]],
    }  # fmt: skip


@given(st.dictionaries(st.sampled_from(sorted(HOLDS)), st.integers(0, 9)))
def test_what_was_written_down_is_read_back(chosen: dict[str, int]) -> None:
    selection = Selection(**{name: HOLDS[name][i % len(HOLDS[name])] for name, i in chosen.items()})
    assert selection_from(json.loads(selection.as_json())) == selection


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        (" 2 h ", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("1w", NOW - timedelta(weeks=1)),
        ("2026-11-24T10:00:00Z", NOW - timedelta(hours=2)),
        ("2026-11-24T12:00:00+02:00", NOW - timedelta(hours=2)),
        ("2026-11-24T10:00:00", NOW - timedelta(hours=2)),
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC)),
    ],
)
def test_ages_and_times_are_read_in_utc(text: str, moment: datetime) -> None:
    assert parse_time(text, NOW) == moment
    assert parse_time(text, NOW).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    ["", "2x", "h", "-2h", "yesterday", "9999999d", "9" * 5000 + "s", "9" * 300 + "w", "0001-01-01T00:00:00+14:00"],
)
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SelectorError, match="an age like 2h"):
        parse_time(text, NOW)


@pytest.mark.parametrize(
    ("text", "condition"),
    [("a.b=1", ("a.b", "1")), ("a=", ("a", "")), ("a=b=c", ("a", "b=c"))],
)
def test_a_condition_is_path_and_text(text: str, condition: tuple[str, str]) -> None:
    assert parse_condition(text) == condition


@pytest.mark.parametrize("text", ["", "a", "=1"])
def test_what_is_no_condition_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SelectorError, match="payload"):
        parse_condition(text)


@pytest.mark.parametrize(
    ("value", "path", "text"),
    [
        (b'{"a":{"b":"x"}}', "a.b", "x"),
        (b'{"a":[10,20]}', "a.1", "20"),
        (b'{"a":null}', "a", "null"),
        (b'{"a":true}', "a", "true"),
        (b'{"a":1.50}', "a", "1.50"),
        (b'{"a":[1.000000000000000001,1e400]}', "a", "[1.000000000000000001, 1e400]"),
        (b'{"a":{"b":[1,"x"]}}', "a", '{"b": [1, "x"]}'),
        (b'["x"]', "0", "x"),
        (b'{"a":1}', "b", None),
        (b'{"a":1}', "a.b", None),
        (b'{"a":"xyz"}', "a.0", None),
        (b'{"a":[1]}', "a.b", None),
        (b'{"a":[1]}', "a.7", None),
        (b"{", "a", None),
        (b"\xff", "a", None),
        (b"", "a", None),
        (None, "a", None),
        (b"[" * 100_000, "0", None),
    ],
)
def test_a_path_leads_to_a_text_or_nowhere(value: bytes | None, path: str, text: str | None) -> None:
    assert json_path(value, path) == text


@pytest.mark.parametrize(
    ("written", "wanted", "matches"),
    [
        ("12345678901234567890", "12345678901234567890", True),
        ("12345678901234567890", "12345678901234567891", False),
        ("1.000000000000000001", "1.000000000000000001", True),
        ("1.000000000000000001", "1", False),
        ("1.50", "1.5", True),
        ("-1", "-1.0", True),
        ("1e400", "1e401", False),
        ("1e400", "10e399", True),
        ("1e99999999999999999999", "1e99999999999999999999", True),
        ("1e99999999999999999999", "1", False),
        ("9" * 5000, "9" * 5000, True),
        ('"1.0"', "1.0", True),
        ('"1.0"', "1", False),
        ("true", "true", True),
        ("true", "1", False),
        ("1", "true", False),
        ("null", "null", True),
        ('["é","b"]', '["é", "b"]', True),
        ('["\\u00e9","b"]', '["é","b"]', True),
        ("[1,true]", "[1.0,true]", True),
        ("[1]", "[true]", False),
        ("[1]", '["1"]', False),
        ("[1]", "[1,2]", False),
        ('{"b":1,"c":2}', '{"c":2,"b":1}', True),
        ('{"b":1}', '{"c":1}', False),
        ("1", "[" * 100_000, False),
    ],
)
def test_values_are_compared_as_json_with_exact_numbers(written: str, wanted: str, *, matches: bool) -> None:
    value = f'{{"a":{written}}}'.encode()
    dead_letter = DeadLetterRecord(make_record(value))
    assert Selection(where=(("a", wanted),)).matches(dead_letter) is matches


@given(st.binary(max_size=60), st.text(max_size=10))
def test_any_value_and_path_can_be_asked(value: bytes, path: str) -> None:
    assert json_path(value, path) is None or isinstance(json_path(value, path), str)
