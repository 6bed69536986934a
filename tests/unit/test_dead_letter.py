"""How a dead letter travels in headers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.schemas.dead_letter import DeadLetter, dead_letter_headers, truncate_utf8
from keepstream.schemas.failure import Step, Verdict
from tests.builders import make_dead_letter, make_failure, make_record

Headers = list[tuple[str, bytes | None]]
LATER = datetime(2026, 11, 25, tzinfo=UTC)


def letter_with(headers: Headers, **changes: object) -> DeadLetter:
    return make_dead_letter(make_record(offset=7, partition=3, headers=headers), **changes)


def headers_of(letter: DeadLetter) -> Headers:
    return dead_letter_headers(letter, "1.2.3")


def test_the_headers_say_where_it_lived_and_why_it_died() -> None:
    failure = make_failure(step=Step.STORE, verdict=Verdict.RECORD, message="why", sqlstate="23514", attempts=4)
    letter = letter_with([], failure=failure, event_id="e", correlation_id="c", last_failed_at=LATER)
    assert dict(headers_of(letter)) == {
        "__connect.errors.topic": b"events",
        "__connect.errors.partition": b"3",
        "__connect.errors.offset": b"7",
        "kafka_dlt-original-topic": b"events",
        "x-original-topic": b"events",
        "__connect.errors.stage": b"store",
        "__connect.errors.exception.class.name": b"keepstream.check_violation",
        "__connect.errors.exception.message": b"why",
        "keepstream.dlq.id": b"events-3-7",
        "keepstream.dlq.step": b"store",
        "keepstream.dlq.verdict": b"record",
        "keepstream.dlq.reason": b"check_violation",
        "keepstream.dlq.sqlstate": b"23514",
        "keepstream.dlq.attempts": b"4",
        "keepstream.dlq.first-failure": b"2026-11-24T12:00:00.000Z",
        "keepstream.dlq.last-failure": b"2026-11-25T00:00:00.000Z",
        "keepstream.dlq.event-id": b"e",
        "keepstream.dlq.correlation-id": b"c",
        "keepstream.dlq.original-timestamp": b"%d" % letter.record.timestamp,
        "keepstream.dlq.replay-count": b"0",
        "keepstream.dlq.app-version": b"1.2.3",
    }


def test_what_is_not_known_has_no_header() -> None:
    names = dict(headers_of(letter_with([], failure=make_failure(sqlstate=None))))
    assert not {"keepstream.dlq.sqlstate", "keepstream.dlq.event-id", "keepstream.dlq.correlation-id"} & names.keys()


def test_the_original_headers_come_first_in_order_and_byte_for_byte() -> None:
    original: Headers = [("a", b"1"), ("b", None), ("a", b"\xff\x00"), ("", b""), ("a", b"1"), ("c", b"x" * 5000)]
    assert headers_of(letter_with(original))[: len(original)] == original


HEADER = st.tuples(st.sampled_from(["a", "b", "traceparent", "x-original-topic"]), st.none() | st.binary(max_size=4))


@given(st.lists(HEADER, max_size=8))
def test_only_earlier_traceparents_are_ever_taken_away(original: Headers) -> None:
    headers = headers_of(letter_with(original))
    expected = [h for h in original if h[0] != "traceparent"]
    traces = [h for h in original if h[0] == "traceparent"]
    assert [h for h in headers if h[0] != "traceparent"][: len(expected)] == expected
    assert [h for h in headers if h[0] == "traceparent"] == traces[-1:]


def test_a_second_death_keeps_the_origin_and_replaces_the_error() -> None:
    first = headers_of(letter_with([("a", b"1")]))
    record = make_record(topic="events-retry", partition=0, offset=99, headers=first)
    second = make_dead_letter(record, failure=make_failure(reason="not_null_violation", message="again"))
    headers = headers_of(second)
    names = [name for name, _ in headers]
    assert len(names) == len(set(names))
    found = dict(headers)
    assert found["__connect.errors.topic"] == b"events"
    assert found["__connect.errors.offset"] == b"7"
    assert found["kafka_dlt-original-topic"] == found["x-original-topic"] == b"events"
    assert found["__connect.errors.exception.message"] == b"again"
    assert found["keepstream.dlq.reason"] == b"not_null_violation"
    assert found["keepstream.dlq.id"] == b"events-retry-0-99"
    assert headers[0] == ("a", b"1")


def test_a_producer_cannot_forge_our_headers() -> None:
    forged: Headers = [("keepstream.dlq.id", b"forged"), ("keepstream.dlq.forged", b"x"), ("keepstream.dlq.id", b"2")]
    headers = headers_of(letter_with(forged))
    assert [value for name, value in headers if name == "keepstream.dlq.id"] == [b"events-3-7"]
    assert "keepstream.dlq.forged" not in dict(headers)


def test_texts_are_cut_at_1_kib_on_the_edge_of_a_character() -> None:
    message = "x" * 1023 + "\N{GRINNING FACE}" * 10
    found = dict(headers_of(letter_with([], failure=make_failure(message=message))))
    assert found["__connect.errors.exception.message"] == b"x" * 1023


@given(st.text(max_size=2000))
def test_a_capped_text_is_the_longest_beginning_that_fits(text: str) -> None:
    cut = truncate_utf8(text).decode()
    assert text.startswith(cut)
    assert len(cut.encode()) <= 1024
    assert cut == text or len((cut + text[len(cut)]).encode()) > 1024


def test_half_a_surrogate_pair_does_not_stop_a_dead_letter() -> None:
    assert truncate_utf8("a\ud800b") == b"a?b"


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (b"0", 0), (b"3", 3), (b"007", 7), (b"999999999", 999_999_999), (b"1000000000", 0), (b"-1", 0), (b"1.5", 0),
        (b"", 0), (None, 0), (b"many", 0), (b" 1", 0), (b"\xff", 0), ("\N{SUPERSCRIPT TWO}".encode(), 0),
        ("\N{ARABIC-INDIC DIGIT THREE}".encode(), 0),
    ],
)  # fmt: skip
def test_the_replay_count_is_read_from_its_header_or_is_zero(value: bytes | None, count: int) -> None:
    letter = letter_with([("keepstream.dlq.replay-count", value)])
    assert letter.replay_count == count
    assert dict(headers_of(letter))["keepstream.dlq.replay-count"] == str(count).encode()


def test_the_same_death_has_the_same_id_however_often_it_is_published() -> None:
    letter = letter_with([])
    assert letter.id == replace(letter, last_failed_at=LATER).id == "events-3-7"
