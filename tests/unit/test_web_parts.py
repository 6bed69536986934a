"""The console's parts: masks, passwords, the limiter, editing, pointing at what is wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.app.config.base import is_loopback
from keepstream.app.config.web import WebSettings
from keepstream.app.errors import KeepstreamError
from keepstream.app.web import sessions as logins
from keepstream.app.web.login import safe_path
from keepstream.app.web.masking import HIDDEN, Mask
from keepstream.app.web.overview import HEIGHT, chart_of
from keepstream.app.web.payload import draft_of, edited_value, line_at, payload_of, timeline_of
from keepstream.app.web.sessions import AttemptLimiter, Sessions, is_password, password_hash
from keepstream.schemas.dead_letter import dead_letter_headers
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from tests.builders import make_dead_letter, make_failure, make_record

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("card"), inner), max_leaves=12,
)  # fmt: skip


def letter(value: bytes | None, **failure: Any) -> DeadLetterRecord:
    record = make_record(value)
    return DeadLetterRecord(
        make_record(value, headers=dead_letter_headers(make_dead_letter(record, failure=make_failure(**failure)), "1"))
    )


@given(JSON)
def test_every_value_of_a_masked_field_is_hidden(document: Any) -> None:
    def put(found: Any) -> Any:
        if isinstance(found, dict):
            return {name: "S3CRET" if name.casefold() == "card" else put(inner) for name, inner in found.items()}
        return [*map(put, found)] if isinstance(found, list) else None

    shown = Mask(["CARD"]).value(json.dumps(put(document)).encode())
    assert b"S3CRET" not in (shown or b"")


@pytest.mark.parametrize("value", [b"not json S3CRET", b'{"card": "S3CRET"', b"[" * 100_000, b"\xff S3CRET"])
def test_what_is_not_json_is_hidden_as_a_whole(value: bytes) -> None:
    mask = Mask(["card"])
    assert b"S3CRET" not in (mask.value(value) or b"")
    assert mask.touches(value)


def test_both_values_of_a_repeated_masked_field_are_hidden() -> None:
    assert b"S3CRET" not in (Mask(["card"]).value(b'{"card": "S3CRET", "card": "x"}') or b"")
    assert b"S3CRET" not in (Mask(["card"]).value(b'{"a": {"card": "S3CRET"}, "a": {"card": 1}}') or b"")


@pytest.mark.parametrize(
    "text",
    [
        '{"payload": {"a": {"card": "S3CRET"}, "a": 1}}',
        '[{"a": {"c\\u0061rd": "S3CRET"}, "a": []}]',
        '{"a": {"CARD": {"deep": [1, {"x": "S3CRET"}]}, "b": 1}, "a": {}}',
        '{"card": ["}", "S3CRET"], "card" : "\\"S3CRET"}',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_masked_field_is_hidden_in_a_repeated_parent(text: str, encoding: str) -> None:
    mask = Mask(["card"])
    assert mask.touches(text.encode(encoding))
    assert b"S3CRET" not in (mask.value(text.encode(encoding)) or b"")


def test_a_mask_leaves_numbers_as_they_are() -> None:
    digits = "9" * 5000
    shown = Mask(["card"]).value(f'{{"card":1,"wei":1.000000000000000001,"big":1e400,"n":{digits}}}'.encode())
    hidden = json.dumps(HIDDEN)
    assert shown == f'{{"card": {hidden}, "wei": 1.000000000000000001, "big": 1e400, "n": {digits}}}'.encode()


def test_without_a_mask_bytes_stay_bytes() -> None:
    assert Mask().value(b"\xff{") == b"\xff{"
    assert not Mask().touches(b"x")


@pytest.mark.parametrize(
    ("path", "text"), [("payload.card", "4"), ("a.CARD.b", ""), ("payload", '{"card": 1}'), ("a", "[1]")]
)
def test_a_masked_field_cannot_be_guessed(path: str, text: str) -> None:
    with pytest.raises(KeepstreamError):
        Mask(["card"]).check(path, text)


def test_a_password_fits_its_hash_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "_LOG_N", 4)
    stored = password_hash("s3cret")
    assert "s3cret" not in stored
    assert stored != password_hash("s3cret")
    assert is_password("s3cret", stored)
    assert not is_password("s3cret ", stored)
    for broken in ("", "scrypt$", "scrypt$x$y$z", "scrypt$4$AA==$AA==", "a$b$c$d$e"):
        assert not is_password("s3cret", broken)


def test_an_unknown_user_costs_a_hash_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "_LOG_N", 4)
    asked: list[str] = []
    found = Sessions(WebSettings(users={"ann": password_hash("s3cret")}))

    def is_never(_given: str, stored: str) -> bool:
        asked.append(stored)
        return False

    monkeypatch.setattr(logins, "is_password", is_never)
    for name in ("ann", "bob"):
        found.user_of(name, "x")
    assert len(asked) == 2
    assert all(stored.startswith("scrypt$") for stored in asked)


def test_a_token_is_a_login_without_a_name() -> None:
    found = Sessions(WebSettings(token="t" * 16))
    assert found.user_of("", "t" * 16) == "token"
    for name, secret in (("", "t" * 15), ("", ""), ("token", "t" * 16), ("", "t" * 5000)):
        assert found.user_of(name, secret) is None


def test_without_a_token_an_empty_secret_is_no_login() -> None:
    assert Sessions(WebSettings()).user_of("", "") is None


def test_concurrent_attempts_count() -> None:
    limiter = AttemptLimiter(3)
    assert [limiter.hit("a", "n") for _ in range(3)] == [0, 0, 0]
    assert limiter.hit("a", "other") > 50
    assert limiter.hit("other", "n") > 50
    limiter.reset("a", "n")
    assert limiter.hit("a", "n") == 0


def test_the_limiter_drops_the_oldest_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "MAX_LIMITED_KEYS", 10)
    limiter = AttemptLimiter(1)
    for number in range(50):
        limiter.hit(f"address {number}")
    assert len(limiter._attempts) == 10


def test_beyond_the_limit_the_oldest_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "MAX_SESSIONS", 3)
    found = Sessions(WebSettings(token="t" * 16))
    cookies = [found.begin("ann") for _ in range(4)]
    assert [found.session(cookie) is not None for cookie in cookies] == [False, True, True, True]


@given(JSON, st.sampled_from([(", ", ": "), (",", ":")]), st.booleans())
def test_an_unedited_value_is_unchanged(document: Any, form: tuple[str, str], ascii_only: bool) -> None:
    value = json.dumps(document, separators=form, ensure_ascii=ascii_only).encode(errors="replace")
    try:
        draft = draft_of(letter(value), 10**6)
    except KeepstreamError:
        return
    assert edited_value(draft, draft.text.replace("\n", "\r\n")) is None


def test_an_edited_value_is_written_as_the_old_one_was() -> None:
    draft = draft_of(letter(b'{"a":1,"b":"\\u00e9"}'), 1000)
    assert "\n" in draft.text
    assert edited_value(draft, draft.text.replace("1", "2")) == b'{"a":2,"b":"\\u00e9"}'


def test_a_number_that_python_writes_differently_is_unchanged() -> None:
    value = b'{"a":1.10,"b":1E5}'
    draft = draft_of(letter(value), 1000)
    assert draft.text.encode() == value
    assert edited_value(draft, draft.text.replace("1E5", "2E5")) == b'{"a":1.10,"b":2E5}'


def test_an_edited_value_that_is_not_json_is_sent_as_typed() -> None:
    draft = draft_of(letter(b'{"a":1}'), 1000)
    assert edited_value(draft, "broken") == b"broken"


@pytest.mark.parametrize("value", [b"\xff", b"a\rb", b"a\x00b", b"x" * 1001])
def test_a_value_that_a_text_field_would_change_is_not_editable(value: bytes) -> None:
    with pytest.raises(KeepstreamError):
        draft_of(letter(value), 1000)


@pytest.mark.parametrize(
    ("path", "line"),
    [("payload.amount", '    "amount": "x",'), ("payload.lines.1.sku", '        "sku": 7'),
     ("payload.gone", '  "payload": {'), ("gone", "{"), ("payload", '  "payload": {')],
)  # fmt: skip
def test_the_error_points_at_its_line(path: str, line: str) -> None:
    value = json.dumps({"event_id": "e", "payload": {"amount": "x", "lines": [{"sku": 1}, {"sku": 7}]}}).encode()
    lines = json.dumps(json.loads(value), indent=2).split("\n")
    found = line_at(value, path, lines)
    assert found is not None
    assert lines[found] == line


def test_the_timeline_says_why_a_replay_did_not_send_it() -> None:
    replay = {
        "replay_id": 8, "state": "failed", "error": "the payload is not JSON",
        "updated_at": datetime(2026, 1, 1, tzinfo=UTC),
        "target_topic": None, "target_partition": None, "target_offset": None,
    }  # fmt: skip
    entry = timeline_of(letter(b"{}"), {"replays": [replay]})[-1]
    assert (entry.event, entry.detail) == ("Replay 8: failed", "the payload is not JSON")


def test_numbers_are_shown_as_they_are_written() -> None:
    value = b'{"wei":1.000000000000000001,"n":1e400}'
    assert payload_of(letter(value), Mask(), 99).lines == ["{", '  "wei": 1.000000000000000001,', '  "n": 1e400', "}"]


def test_a_payload_is_cut_and_cannot_move_a_cursor() -> None:
    shown = payload_of(letter(b"\x1b[2J" + b"x" * 5000), Mask(), 1024)
    assert shown.cut
    assert len(shown.raw) < 1100
    assert "\x1b" not in shown.raw + "".join(shown.lines)
    hidden = payload_of(letter(b'{"card": "4111"}'), Mask(["card"]), 1024)
    assert HIDDEN in "".join(hidden.lines)
    assert hidden.masked


@pytest.mark.parametrize("text", ["/", "/dead-letters?reason=a%20b", "/replay/job?id=x"])
def test_a_login_leads_back_to_our_pages(text: str) -> None:
    assert safe_path(text) == text


OURS = {
    "127.0.0.1": True,
    "::1": True,
    "localhost": True,
    "127.9.9.9": True,
    "192.0.2.1": False,
    "::": False,
    "": False,
}


@pytest.mark.parametrize(("host", "ours"), OURS.items())
def test_only_loopback_is_loopback(host: str, ours: bool) -> None:
    assert is_loopback(host) is ours


@given(st.lists(st.floats(0, 1e9), max_size=400))
def test_a_chart_stays_in_its_frame(values: list[float]) -> None:
    chart = chart_of({"in": values}, "events per second")
    points = [point.split(",") for point in chart.lines["in"].split()]
    assert len(points) == min(len(values), 300)
    assert all(0 <= float(y) <= HEIGHT and -0.1 <= float(x) <= 600.1 for x, y in points)
