"""Records of another shape become events by settings alone, or rejections that name the path."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from keepstream.app.cli.root import root
from keepstream.app.config.contract import load_contract
from keepstream.app.config.settings import Settings
from keepstream.processors.mapping.document import cut, value_at
from keepstream.processors.validation.contract import check_contract
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.event import Event, Rejection, ValidEvent
from keepstream.schemas.record import Record
from tests.builders import AT, make_record, make_value

ORDER = b'{"order": {"no": 4711, "tags": ["new"]}, "at": 1764000000123, "lines": [1.000000000000000001, 2], "n": null}'


def validator(**mapping: Any) -> Validator:
    return load_contract(Settings(_env_file=None, mapping=mapping))


def exact(text: bytes) -> Any:
    return json.loads(text, parse_float=Decimal)


def mapped(value: bytes, *, headers: Any = (), key: bytes | None = b"k", **mapping: Any) -> dict[str, Any]:
    """Return what is stored; numbers with a fraction are decimals."""
    event = validator(**mapping).validate(make_record(value, headers=headers, key=key))
    assert isinstance(event, ValidEvent), event
    stored: dict[str, Any] = exact(event.document)
    return {name: stored[name] for name in Event.model_fields if stored.get(name) is not None}


def refused(value: bytes | None, *, headers: Any = (), key: bytes | None = b"k", **mapping: Any) -> tuple[str, str]:
    verdict = validator(**mapping).validate(make_record(value, headers=headers, key=key))
    assert isinstance(verdict, Rejection), verdict
    return verdict.reason, verdict.message


def test_each_part_is_read_from_its_source() -> None:
    assert mapped(
        ORDER, headers=[("trace", b"t-1")], id="order-{/order/no}", timestamp="/at", timestamp_format="epoch_ms",
        correlation_id="header:trace", payload="/lines", metadata={"tag": "/order/tags/0", "from": "constant:shop"},
    ) == {
        "event_id": "order-4711", "timestamp": "2025-11-24T16:00:00.123Z", "correlation_id": "t-1",
        "metadata": {"tag": "new", "from": "shop"}, "payload": [Decimal("1.000000000000000001"), 2],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("source", "event_id"),
    [
        ("/order/no", "4711"),
        ("/order/tags/0", "new"),
        ("header:id", "h-1"),
        ("key", "k"),
        ("constant:c", "c"),
        ("{key}:{header:id}:{/order/no}", "k:h-1:4711"),
        ("sha256", "sha256:" + hashlib.sha256(ORDER).hexdigest()),
    ],
)
def test_the_id_comes_from_any_source(source: str, event_id: str) -> None:
    assert mapped(ORDER, headers=[("id", b"h-1")], id=source, payload="value")["event_id"] == event_id


@pytest.mark.parametrize(
    ("parts", "reason", "words"),
    [
        ({"id": "/order/id"}, "missing_field", "order.id: is required and absent or null (mapping.id)"),
        ({"id": "/n"}, "missing_field", "n: is required and absent or null"),
        ({"id": "/order/tags/1"}, "missing_field", "order.tags.1: is required"),
        ({"id": "header:id"}, "missing_field", "header:id: is required"),
        ({"id": "a-{/x}"}, "missing_field", "x: is required and absent or null, for a-{/x}"),
        ({"id": "/order"}, "invalid_field", "order: must be text or an integer"),
        ({"id": "/lines/0"}, "invalid_field", "lines.0: must be text or an integer"),
        ({"payload": "/data"}, "missing_field", "data: is required and absent or null (mapping.payload)"),
        ({"payload": "/n"}, "missing_field", "n: is required"),
        ({"timestamp": "/when"}, "missing_field", "when: is required and absent or null (mapping.timestamp)"),
        ({"timestamp": "/at"}, "invalid_timestamp", "at: must be text like 2026-11-24T10:00:00Z; epoch milliseconds?"),
        ({"metadata": "/lines"}, "invalid_field", "lines: must be a JSON object or null (mapping.metadata)"),
        ({"correlation_id": "/lines"}, "invalid_field", "lines: must be text or an integer"),
    ],
)
def test_what_must_be_there_and_is_not_is_named_by_its_path(parts: dict[str, Any], reason: str, words: str) -> None:
    found, message = refused(ORDER, **({"id": "/order/no", "payload": "value"} | parts))
    assert found == reason
    assert words in message


def test_a_rejection_has_the_event_id_where_it_was_found() -> None:
    verdict = validator(id="/order/no", payload="/data").validate(make_record(ORDER))
    assert isinstance(verdict, Rejection)
    assert verdict.event_id == "4711"


def test_what_is_not_named_is_where_the_contract_has_it() -> None:
    value = make_value(event_id=7, retry_attempt=2, metadata={"a": 1})
    found = mapped(value, id="/event_id")
    assert found == json.loads(value) | {"event_id": "7"}


def test_a_retry_attempt_is_checked_as_the_contract_checks_it() -> None:
    assert refused(make_value(retry_attempt="1"), id="/event_id")[1] == "retry_attempt: input should be a valid integer"
    nested = b'{"id": 1, "a": {"b": {}}, "retry_attempt": 3}'
    assert mapped(nested, id="/id", payload="/a/b")["retry_attempt"] == 3
    assert "retry_attempt" not in mapped(nested, id="/id", payload="value")


def test_a_payload_that_is_not_named_must_be_an_object() -> None:
    assert refused(make_value(payload=[1]), id="/event_id")[1].startswith("payload: must be a JSON object")
    assert mapped(make_value(payload=[1]), payload="/payload")["payload"] == [1]


@pytest.mark.parametrize("payload", ["[]", "[1, 2]", "1.50", '"text"', "true", "{}", "12345678901234567890123"])
def test_a_payload_that_is_named_is_stored_whatever_it_is(payload: str) -> None:
    value = f'{{"id": 1, "data": {payload}}}'.encode()
    event = validator(id="/id", payload="/data").validate(make_record(value))
    assert isinstance(event, ValidEvent)
    assert f'"payload": {payload}'.encode() in event.document
    value = payload.encode()
    assert mapped(value, id="sha256", payload="value")["payload"] == exact(value)


def test_the_whole_value_keeps_its_text() -> None:
    value = b' {"a": 1e2, "a": 1.10, "event_id": "inner"}\n'
    event = validator(id="key", payload="value", timestamp="none").validate(make_record(value))
    assert isinstance(event, ValidEvent)
    assert b'"payload":' + value in event.document
    assert exact(event.document)["event_id"] == "k"
    assert event.is_undated


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "tombstone"),
        (b"", "empty_value"),
        (b"{", "invalid_json"),
        (b"\xff", "invalid_utf8"),
        (rb'{"id":"\ud800"}', "lone_surrogate"),
        (b'{"id": 1, "x": %b}' % (b"1" * 5000), "number_out_of_range"),
        (b"5", "not_an_object"),
        (b"[" * 70 + b"]" * 70, "too_deep"),
        (b'{"id": 1, "x": NaN}', "not_finite_number"),
        (rb'{"id": 1, "x": "\u0000"}', "nul_character"),
        (rb'{"id": "\u0000"}', "nul_character"),
        (b'{"id": 1, "x": [%b]}' % b",".join([b"1e131071"] * 20), "number_out_of_range"),
        (b'{"id": ""}', "invalid_field"),
        (b'{"id": "%b"}' % (b"x" * 256), "invalid_field"),
    ],
)
def test_the_contracts_own_limits_stay(value: bytes | None, reason: str) -> None:
    assert refused(value, id="/id", payload="value")[0] == reason


def test_a_header_that_is_absent_leaves_the_contracts_fallback() -> None:
    found = mapped(ORDER, id="/order/no", payload="value", correlation_id="header:nope")
    assert found["correlation_id"] == "4711"


def test_messages_never_repeat_what_the_producer_wrote() -> None:
    for value in (b'{"id": ["s3cret"]}', b'{"id": "a", "at": "s3cret"}', b'"s3cret"'):
        assert "s3cret" not in refused(value, id="/id", payload="value", timestamp="/at")[1]


def test_steps_and_contracts_follow_the_mapping() -> None:
    def tagged(event: Event, record: Record) -> Event:
        return event.model_copy(update={"metadata": {"seen": event.payload["no"]}})

    settings = Settings(_env_file=None, mapping={"id": "/order/no", "payload": "/order"})
    both = Validator(transforms={"tagged": tagged}, mapping=settings.mapping.compile())
    event = both.validate(make_record(ORDER))
    assert isinstance(event, ValidEvent)
    assert json.loads(event.document)["metadata"] == {"seen": 4711}


def test_without_a_mapping_the_contract_is_the_plain_function() -> None:
    assert validator().check_contract is check_contract


@pytest.mark.parametrize(
    ("value", "payload"),
    [
        (b'{"id":1,"data":{"a":1}}', {"a": 1}),
        (b'{"id":1,"data":{"payload":1}}', {"payload": 1}),
        (b'{"id":1,"payload":2,"data":{"a":1}}', {"a": 1}),
        (b'{"id":1,"data":{"a":1},"payload":2}', {"a": 1}),
        (b'{"id":1,"data":2,"d\\u0061ta":{"a":1}}', {"a": 1}),
        (b'{"id":1,"d\\u0061ta":{"data":5}}', {"data": 5}),
        (b'{"id":1,"data":1,"data":2}', 2),
        (b'{"id":1,"x":"data","data" :3}', 3),
        (b'{"id":1,"x":"\\"data","data":3}', 3),
        (b'{"id":1,"x\\"data":4,"data":3}', 3),
        (b'{"x\\"data":4,"id":1,"d\\u0061ta":3}', 3),
        (b'{"id":1,"metadata":7,"event_id":"no","timestamp":"no","correlation_id":5,"data":3}', 3),
        (b'{"id":1,"data":3}\n', 3),
    ],
)
def test_the_payload_is_the_member_whatever_surrounds_it(value: bytes, payload: object) -> None:
    none: dict[str, Any] = {"correlation_id": "none", "timestamp": "none"}
    found = mapped(value, id="/id", payload="/data", metadata="none", **none)
    assert (found["event_id"], found["payload"], found["correlation_id"]) == ("1", payload, "1")
    assert "metadata" not in found
    found = mapped(
        value, id="/id", payload="value", metadata={"data": "/data"}, correlation_id="none", timestamp="none"
    )
    assert found["metadata"] == {"data": payload}


NAMES = st.sampled_from(["id", "data", "at", "a/b", "m~n", "d\u00e4ta", 'q"q', "x", ""])
LEAVES = st.none() | st.booleans() | st.integers() | st.text('\\"ab\u00e9\n{}[]:,', max_size=6)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, str]:
    """A JSON document and the path of one of its members, with numbers of 25 places."""
    numbers: list[str] = []

    def number() -> Any:
        numbers.append(f"{draw(st.integers(-(10**30), 10**30))}.{draw(st.integers(0, 10**25)):025d}")
        return f"@{len(numbers) - 1}@"

    def tree(level: int) -> Any:
        kind = draw(st.integers(0, 3 if level else 2))
        if kind == 0:
            return draw(LEAVES)
        if kind == 1:
            return number()
        if kind == 2:
            return [tree(level - 1) for _ in range(draw(st.integers(0, 3)))] if level else draw(LEAVES)
        return {draw(NAMES): tree(level - 1) for _ in range(draw(st.integers(0, 4)))}

    root_value = {draw(NAMES): tree(3) for _ in range(draw(st.integers(1, 5)))}
    name = draw(st.sampled_from([*root_value]))
    text = json.dumps(root_value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    for index, digits in enumerate(numbers):
        text = text.replace(f'"@{index}@"', digits)
    return text, "/" + name.replace("~", "~0").replace("/", "~1")


@given(documents(), st.sampled_from(["sha256", "key"]))
def test_what_a_mapping_accepts_the_contract_accepts_and_says_what_the_record_said(
    document: tuple[str, str], source: str
) -> None:
    text, path = document
    if path == "/":
        return
    record = make_record(text.encode())
    event = validator(id=source, payload=path, metadata={"whole": "value"}).validate(record)
    said = json.loads(text, parse_float=Decimal)[path[1:].replace("~1", "/").replace("~0", "~")]
    if isinstance(event, Rejection):
        assert said is None
        return
    assert isinstance(event, ValidEvent)
    stored = exact(event.document)
    assert (stored["payload"], stored["metadata"]["whole"]) == (said, json.loads(text, parse_float=Decimal))
    if isinstance(said, dict):
        again = check_contract(make_record(event.document, record.offset))
        assert isinstance(again, ValidEvent)
        assert (again.event_id, again.timestamp) == (event.event_id, event.timestamp)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('id = "order.no"', ["KEEPSTREAM_MAPPING__ID", "'order.no' is no source: write a path like /order/no"]),
        ('id = "/"', ["KEEPSTREAM_MAPPING__ID", "write value for all of it"]),
        ('id = "a{/b"', ["KEEPSTREAM_MAPPING__ID", "a brace without its partner"]),
        ('id = "a{b}"', ["KEEPSTREAM_MAPPING__ID", "'b' is no source"]),
        ('id = "record"', ["KEEPSTREAM_MAPPING__ID", "'record' is no source"]),
        ('metadata = {x = "header:"}', ["KEEPSTREAM_MAPPING__METADATA", "'header:' is no source"]),
        ('timestamp_zone = "Mars/North"', ["KEEPSTREAM_MAPPING__TIMESTAMP_ZONE", "'Mars/North' is no time zone"]),
        ('timestamp_format = "millis"', ["KEEPSTREAM_MAPPING__TIMESTAMP_FORMAT", "'epoch_ms'"]),
        (
            'timestamp_format = "epoch_s"\ntimestamp_zone = "UTC"',
            ["timestamp_zone: numbers since 1970", "leave it out"],
        ),
        ('event_id = "/id"', ["KEEPSTREAM_MAPPING__EVENT_ID", "Extra inputs are not permitted"]),
    ],
)
def test_a_wrong_setting_names_the_field_and_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keepstream.toml").write_text(f"[keepstream.mapping]\n{lines}\n")
    result = CliRunner().invoke(root, ["config", "show"])
    assert result.exit_code == 2
    for word in words:
        assert word in result.stderr


def test_the_settings_of_the_page_are_settings() -> None:
    page = (Path(__file__).parents[2] / "docs/mapping.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        assert validator(**tomllib.loads(block)["keepstream"]["mapping"]).check_contract is not check_contract


def test_the_environment_names_a_mapping_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTREAM_MAPPING__ID", "/order/no")
    monkeypatch.setenv("KEEPSTREAM_MAPPING__PAYLOAD", "value")
    monkeypatch.setenv("KEEPSTREAM_MAPPING__METADATA", '{"tag": "/order/tags/0"}')
    event = load_contract(Settings(_env_file=None)).validate(make_record(ORDER))
    assert isinstance(event, ValidEvent)
    assert (event.event_id, json.loads(event.document)["metadata"]) == ("4711", {"tag": "new"})


def test_a_uuid_in_upper_case_stays_as_it_is_written() -> None:
    text = "0F0E0D0C-0B0A-4908-8706-050403020100"
    assert mapped(make_value(event_id=text), id="/event_id", timestamp="/timestamp")["timestamp"] == AT
    assert mapped(make_value(event_id=text), id="/event_id")["event_id"] == text


NAMES = st.sampled_from(["0", "1", "a", "no"])
VALUES = st.recursive(
    st.integers(0, 9) | NAMES,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(NAMES, inner, min_size=1),
    max_leaves=12,
)


@example(document={"items": [7], "0": 3}, path=("items", "0"))
@given(document=VALUES, path=st.lists(NAMES, min_size=1, max_size=4).map(tuple))
def test_the_text_that_is_cut_is_the_value_at_the_path(document: Any, path: tuple[str, ...]) -> None:
    """Also where a list is indexed and a member elsewhere has the number as its name."""
    expected = value_at(document, path)
    if expected is not None:
        assert json.loads(cut(json.dumps(document), path)) == expected
