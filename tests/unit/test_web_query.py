"""The URL of the console speaks the command line's language, and says no to the same things."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.app.cli.options import selectors
from keepstream.app.dlq.page import Cursor
from keepstream.app.dlq.selectors import DeadLetterQuery
from keepstream.app.errors import KeepstreamError
from keepstream.app.web.facets import matching
from keepstream.app.web.masking import Mask
from keepstream.app.web.query import NAMES, cursor_of, cursor_text, query_of
from keepstream.sinks.postgres.dead_letters import DeadLetterKey

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
NUMBER = st.integers(0, 2**40).map(str)
VALUES: dict[str, st.SearchStrategy[str]] = {
    **dict.fromkeys(("id", "event-id", "key", "step", "reason", "verdict", "sqlstate"), TEXT),
    **dict.fromkeys(("origin", "consumer-group"), TEXT),
    "where": st.builds("{}={}".format, TEXT.filter(lambda path: "=" not in path), TEXT),
    "partition": st.integers(0, 2**31 - 1).map(str), "from-offset": NUMBER, "limit": st.integers(1, 10**6).map(str),
    "since": st.sampled_from(["2h", "2026-11-24T10:00:00Z"]), "include-resolved": st.just("1"),
}  # fmt: skip
SINGLE = ("from-offset", "limit", "since", "include-resolved")
PAIRS = st.lists(
    st.sampled_from([*VALUES]).flatmap(lambda name: st.tuples(st.just(name), VALUES[name])),
    unique_by=lambda pair: pair[0] if pair[0] in SINGLE else pair,
)


def chosen_by_command(words: list[str]) -> DeadLetterQuery:
    """Read words as `dlq list` would."""
    taken: list[DeadLetterQuery] = []

    @click.command()
    @selectors()
    def command(*, chosen: DeadLetterQuery) -> None:
        taken.append(chosen)

    command.main(words, standalone_mode=False)
    return taken[0]


def same(one: DeadLetterQuery, other: DeadLetterQuery) -> bool:
    """Whether both select the same; an age like 2h is counted from a moment later."""
    since, later = one.selection.since, other.selection.since
    close = since == later or (since and later and abs(later - since) < timedelta(minutes=1))
    without = [(*(getattr(c.selection, n) for n in c.selection.__slots__ if n != "since"), c.limit, c.resolved_too)
               for c in (one, other)]  # fmt: skip
    return bool(close) and without[0] == without[1]


@given(PAIRS)
def test_the_command_that_a_page_shows_selects_what_the_page_shows(pairs: list[tuple[str, str]]) -> None:
    query = query_of(pairs, Mask())
    words = shlex.split(query.command("dlq list"))
    assert words[:3] == ["keepstream", "dlq", "list"]
    assert same(chosen_by_command(words[3:]), query.chosen)


@given(PAIRS)
def test_a_link_leads_to_the_same_selection(pairs: list[tuple[str, str]]) -> None:
    query = query_of(pairs, Mask())
    assert query_of(parse_qsl(query.link()), Mask()).pairs == query.pairs


def test_toggling_adds_and_takes_away() -> None:
    query = query_of([("reason", "a")], Mask())
    assert query.toggled("reason", "b") == "reason=a&reason=b"
    assert query.toggled("reason", "a") == ""


@pytest.mark.parametrize("pair", [("since", "soon"), ("partition", "-1"), ("partition", "²"), ("from-offset", "1e3"),
                                  ("limit", "0"), ("where", "x"), ("reason", "\0"), ("key", "k" * 1025)])  # fmt: skip
def test_what_cannot_be_understood_is_named(pair: tuple[str, str]) -> None:
    with pytest.raises(KeepstreamError) as caught:
        query_of([pair], Mask())
    assert caught.value.exit_code == 2


def test_other_parameters_are_nobodys_business() -> None:
    assert query_of([("csrf", "x"), ("before", "0.1"), ("reason", "")], Mask()).pairs == ()
    assert len(NAMES) == len(set(NAMES))


ENDS = st.dictionaries(st.integers(0, 1000), st.integers(0, 2**60))
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - it adds one
IDS = st.sampled_from(["events-0-1", "a~b-12-3", "a_1.2-0-9223372036854775"])
DEATHS = st.builds(DeadLetterKey, MOMENTS, IDS, st.none())


@given(st.builds(Cursor, ENDS, st.none(), st.booleans()) | st.builds(Cursor, ENDS, DEATHS))
def test_a_cursor_is_read_back(cursor: Cursor) -> None:
    assert cursor_of(cursor_text(cursor)) == cursor


BROKEN = ["x", "1", "1.", ".1", "1.2.3", "1.-2", "1.2_", "1.2__3.4", "1.2~", "1.2~5", "1.2~5~x", "1.2~x~events-0-1",
          "1.2~4000000000000000000~events-0-1", "1.2~5~events-0-1~topic", "~~", "1.2~topi"]  # fmt: skip


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_cursor_is_refused(text: str) -> None:
    with pytest.raises(KeepstreamError):
        cursor_of(text)


ROWS: list[dict[str, Any]] = [
    {"step": "store", "reason": "a", "verdict": "record", "state": "open", "letters": 5},
    {"step": "store", "reason": "b", "verdict": "record", "state": "failed", "letters": 2},
    {"step": "validate", "reason": "c", "verdict": "record", "state": "open", "letters": 1},
    {"step": "store", "reason": "a", "verdict": "record", "state": "settled", "letters": 40},
]


def test_facets_count_what_is_open_and_what_the_other_facets_leave() -> None:
    everything = query_of([], Mask())
    assert matching(ROWS, everything).total() == 8
    assert matching(ROWS, query_of([("include-resolved", "1")], Mask())).total() == 48
    narrowed = query_of([("reason", "a")], Mask())
    assert matching(ROWS, narrowed).total() == 5
    assert matching(ROWS, narrowed, but="reason").total() == 8
    assert matching(ROWS, query_of([("step", "validate")], Mask()), but="reason").total() == 1
