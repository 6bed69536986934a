"""The fast form of a mapping gives the verdicts of the general one, whatever the value and the members are."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.processors.mapping.options import MappingOptions, compile_mapping
from keepstream.processors.mapping.timestamps import Format
from keepstream.processors.validation.contract import Verdict
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.record import Record
from tests.builders import AT, make_record

OWN = ["event_id", "payload", "metadata", "timestamp", "correlation_id", "retry_attempt"]
OTHER = ["id", "data", "at", "m.n", "a b", "eventId"]
NAMES = st.sampled_from([*OWN, *OTHER])
PARTS = {"id": "event_id"} | {name: name for name in OWN[1:5]}
CHOSEN = (
    st.permutations(OTHER)
    .flatmap(
        lambda others: st.tuples(
            *(st.sampled_from([other, other, own]) for other, own in zip(others, PARTS.values(), strict=False))
        )
    )
    .map(lambda names: dict(zip(PARTS, names, strict=True)))
)
"""The member that each part is: another name, or its own."""
LEAVES = st.sampled_from(
    [b"null", b"true", b"7", b"-0", b"1764000000123", b"1764000000.123456789", b"12345678901234567890123", b'""',
     b'"a"', b'"data"',
     b'"id"', b'"\\"id"', b'"\\u0061"', b'"\\u0000"', b'"c:\\\\"', b'"\xc3\xa9"', b'"%b"' % AT.encode(),
     b'"2026-11-24T10:00:00"', b'"1764000000"', b"NaN", b"1.10", b'"%b"' % (b"x" * 256)]
)  # fmt: skip
TIMES = st.sampled_from([b"1764000000123", b"1764000000123.123456789"])
SPACE = st.sampled_from([b"", b"", b" ", b"\n\t"])


@st.composite
def members(draw: st.DrawFn, inner: st.SearchStrategy[bytes]) -> bytes:
    """An object: some names twice, some spelled with an escape, blanks anywhere."""
    found = []
    for _ in range(draw(st.integers(0, 5))):
        name = json.dumps(draw(NAMES), ensure_ascii=draw(st.booleans())).encode()
        if draw(st.integers(0, 9)) == 0:
            name = name[:1] + b"\\u%04x" % name[1] + name[2:]
        found.append(b"%b%b%b:%b%b" % (draw(SPACE), name, draw(SPACE), draw(SPACE), draw(inner)))
    return b"{" + b",".join(found) + b"}"


def as_list(items: list[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


VALUES = st.recursive(LEAVES, lambda inner: members(inner) | st.lists(inner, max_size=2).map(as_list), max_leaves=6)


@st.composite
def usual(draw: st.DrawFn) -> tuple[bytes, dict[str, str]]:
    """A value that a mapping mostly accepts, and the mapping."""
    names = draw(CHOSEN)
    values = {
        "id": draw(st.sampled_from([b'"a"', b"7", b'"b\\"c"'])), "payload": draw(members(VALUES)),
        "metadata": draw(st.just(b"null") | members(VALUES)), "timestamp": draw(TIMES),
        "correlation_id": draw(st.sampled_from([b'"c"', b"null", b"5"])),
    }  # fmt: skip
    parts = draw(st.permutations([*values]))
    more = draw(st.lists(st.tuples(NAMES, VALUES), max_size=2))
    texts = [b"%b:%b" % (json.dumps(name).encode(), found) for name, found in more]
    texts += [b"%b: %b" % (json.dumps(names[part]).encode(), values[part]) for part in parts]
    return b"{%b}%b" % (b",".join(texts), draw(SPACE)), names


def compare(options: MappingOptions, value: bytes) -> Verdict:
    mapping = compile_mapping(options)
    record: Record = make_record(value, 7)
    fast = Validator(mapping=mapping).validate(record)
    general = Validator(mapping=replace(mapping, members=None)).validate(record)
    assert seen(fast) == seen(general)
    return fast


def seen(verdict: Verdict) -> Any:
    """What a verdict says: of an event, what PostgreSQL reads of its document."""
    if not isinstance(verdict, ValidEvent):
        return verdict
    document = json.loads(verdict.document, parse_float=Decimal)
    read = {name: document.get(name) for name in [*OWN, "@offset", "@undated"]}
    return verdict.event_id, verdict.timestamp, verdict.correlation_id, str(read)


FORMS = st.sampled_from([("rfc3339", None), ("rfc3339", "Europe/Paris"), ("epoch_ms", None), ("epoch_s", None)])


@given(value=members(VALUES) | VALUES, names=CHOSEN, form=FORMS, named=st.booleans())
def test_any_value(value: bytes, names: dict[str, str], form: tuple[Format, str | None], *, named: bool) -> None:
    id_, payload, metadata, timestamp, correlation_id = (f"/{name}" for name in names.values())
    compare(
        MappingOptions(
            id=id_, payload=payload if named else None, metadata=metadata, correlation_id=correlation_id,
            timestamp=timestamp if named else None, timestamp_format=form[0], timestamp_zone=form[1],
        ),
        value,
    )  # fmt: skip


@given(found=usual(), is_dated=st.booleans())
def test_a_value_that_has_the_parts(found: tuple[bytes, dict[str, str]], *, is_dated: bool) -> None:
    value, names = found
    given_names = {part: f"/{name}" for part, name in names.items()}
    if not is_dated:
        given_names["timestamp"] = "record"
    compare(MappingOptions(**given_names, timestamp_format="epoch_ms"), value)


def test_it_is_used_where_every_part_is_a_member() -> None:
    options = MappingOptions(
        id="/eventId", payload="/data", metadata="none", timestamp="/at", timestamp_format="epoch_ms"
    )
    members = compile_mapping(options).members
    assert members is not None
    for value in (b'{"eventId":"a","at":1764000000123,"data":{}}', b'{"eventId":5,"at":"1764000000","data":{"x":{}}}'):
        assert (members.read(value) is None) == (b'"1764000000"' in value)
        compare(options, value)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "order-{/no}"}, {"id": "/a/b"}, {"payload": "value"}, {"metadata": {"x": "/x"}}, {"id": "sha256"},
        {"correlation_id": "header:x"}, {"id": "/data"}, {"id": "/payload", "payload": "/data"},
    ],
)  # fmt: skip
def test_it_is_not_used_where_a_part_is_something_else(changes: dict[str, Any]) -> None:
    assert compile_mapping(MappingOptions(**{"payload": "/data", **changes})).members is None
