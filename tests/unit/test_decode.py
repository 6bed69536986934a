"""A decode hook: what is inside the value is checked, and the record stays as it was read."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.app.cli.events_validate import Findings
from keepstream.app.config.contract import find_decoder, load_contract
from keepstream.app.config.settings import Settings
from keepstream.app.errors import KeepstreamError
from keepstream.processors.audit import find_discrepancies
from keepstream.processors.mapping.suggest import suggest
from keepstream.processors.replay.outgoing import revalidate
from keepstream.processors.validation.contract import check_contract
from keepstream.processors.validation.decoding import Decoder, gunzip
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.event import MAX_VALUE_BYTES, Contract, Event, Rejection, ValidEvent
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.schemas.record import Record
from tests.builders import make_record, make_value
from tests.unit.pipeline_fixture import PipelineFixture

PAGE = (Path(__file__).parents[2] / "docs/own-events.md").read_text(encoding="utf-8")


def unframed(value: bytes, record: Record) -> bytes:
    """A frame of the test's own: its content is reversed."""
    if record.key == b"broken":
        raise ValueError("s3cret")
    return value[::-1]


def validator(name: str = "tests.unit.test_decode:unframed", **settings: Any) -> Validator:
    return load_contract(Settings(_env_file=None, decode=name, **settings))


def test_what_is_inside_the_value_is_the_event_and_the_record_stays() -> None:
    record = make_record(make_value(event_id="a")[::-1], 7)
    event = validator().validate(record)
    assert isinstance(event, ValidEvent)
    assert (event.event_id, event.record) == ("a", record)
    assert json.loads(event.document)["@offset"] == 7


def test_mapping_contract_and_steps_get_the_decoded_value() -> None:
    class Order(Contract):
        no: int

        def event(self, record: Record) -> Event:
            return Event(event_id=f"o-{self.no}", payload=json.loads(record.value or b""))

    decoder = find_decoder("tests.unit.test_decode:unframed")
    event = Validator(Order, decoder=decoder).validate(make_record(b'{"no": 5}'[::-1]))
    assert isinstance(event, ValidEvent)
    assert json.loads(event.document)["payload"] == {"no": 5}
    mapped = validator(mapping={"id": "sha256", "payload": "value"}).validate(make_record(b'{"no": 5}'[::-1]))
    assert isinstance(mapped, ValidEvent)
    assert b'"payload":{"no": 5}' in mapped.document


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (lambda value, record: value.decode(), "decode hook h returned str, not bytes"),
        (lambda value, record: None, "decode hook h returned NoneType, not bytes"),
        (lambda value, record: {}[value], "decode hook h raised KeyError"),
        (lambda value: value, "decode hook h raised TypeError"),
    ],
)
def test_an_error_of_the_hook_is_a_rejection_that_names_it(hook: Callable[..., Any], words: str) -> None:
    verdict = Validator(decoder=Decoder("h", hook)).validate(make_record(b"s3cret"))
    assert verdict == Rejection("decode_failed", words)


async def test_its_dead_letter_is_of_the_validate_step_and_keeps_the_bytes() -> None:
    fixture = PipelineFixture()
    object.__setattr__(fixture.pipeline, "validator", validator())
    broken = make_record(b"as it was", 0, key=b"broken")
    not_json = make_record(b"}{", 1)
    await fixture.process([broken, not_json])
    first, second = fixture.letters.published
    assert (first.failure.step, first.failure.reason) == ("validate", "decode_failed")
    assert first.failure.message == "decode hook tests.unit.test_decode:unframed raised ValueError"
    assert (first.record.value, second.record.value) == (b"as it was", b"}{")
    assert "s3cret" not in str(first)
    # A replay's dry run decodes as the worker does.
    published = [DeadLetterRecord(record) for record in fixture.letters.records]
    verdicts = [revalidate(validator(), letter, letter.record.value) for letter in published]
    assert [verdict and verdict.reason for verdict in verdicts] == ["decode_failed", "missing_field"]
    assert revalidate(validator(), published[1], make_value()[::-1]) is None


@pytest.mark.parametrize(("value", "reason"), [(None, "tombstone"), (b"", "empty_value")])
def test_a_record_without_a_value_is_not_decoded(value: bytes | None, reason: str) -> None:
    verdict = Validator(decoder=Decoder("h", lambda _value, _record: make_value())).validate(make_record(value))
    assert isinstance(verdict, Rejection)
    assert verdict.reason == reason


def test_the_limits_are_those_of_the_decoded_value() -> None:
    big = Validator(decoder=Decoder("h", lambda _value, _record: b"x" * (MAX_VALUE_BYTES + 1)))
    verdict = big.validate(make_record(b"small"))
    assert isinstance(verdict, Rejection)
    assert verdict.reason == "too_large"


def test_gzip_is_built_in_and_plain_values_pass() -> None:
    for value in (gzip.compress(make_value(event_id="a")), make_value(event_id="a")):
        event = validator("gzip").validate(make_record(value))
        assert isinstance(event, ValidEvent)
        assert event.event_id == "a"


def test_gzip_stops_at_the_limit() -> None:
    bomb = gzip.compress(b"{" + b" " * 200_000_000 + b"}", 1)
    assert len(gunzip(bomb, make_record())) == MAX_VALUE_BYTES + 1
    verdict = validator("gzip").validate(make_record(bomb))
    assert isinstance(verdict, Rejection)
    assert verdict.reason == "too_large"


@given(st.binary(max_size=300), st.integers(0, 400), st.binary(max_size=5))
def test_gzip_gives_back_what_was_compressed_or_refuses(content: bytes, cut: int, added: bytes) -> None:
    whole = gzip.compress(content)
    assert gunzip(whole, make_record()) == content
    changed = whole[:cut] + added
    if len(changed) > 1 and changed != whole:
        try:
            assert gunzip(changed, make_record()) in (changed, content)
        except (ValueError, zlib.error):
            return


async def test_a_transaction_holds_no_more_of_decoded_values_than_a_batch_of_plain_ones() -> None:
    pipeline = PipelineFixture()
    pipeline.pipeline = replace(pipeline.pipeline, validator=validator("gzip"))
    large = [make_value(event_id=f"e-{n}", payload={"a": "x" * 900_000}) for n in range(8)]
    values = [gzip.compress(value) for value in large] + [b"\x1f\x8b", gzip.compress(make_value(event_id="small"))]
    offsets = [0, 1, 2, 5, 6, 7, 9, 10, 20, 21]  # what lies between was compacted
    records = [make_record(value, offset=at) for value, at in zip(values, offsets, strict=True)]
    counts = await pipeline.process_joined(records[:4], records[4:])
    assert counts == OutcomeCounts(delivered=9, dead_lettered=1)
    assert [events for _, events in pipeline.rules.calls] == [3, 3, 3]
    assert pipeline.next_offset == 22
    assert len(pipeline.statuses) == 9


def test_a_suggestion_looks_into_the_value() -> None:
    records = [make_record(gzip.compress(b'{"id": %d, "data": {"a": 1}}' % number)) for number in range(3)]
    findings = Findings(find_decoder("gzip"))
    assert len([*findings.checked(records, validator("gzip").validate)]) == 3
    options, accepted = suggest(findings.sample)
    assert (options["id"], options["payload"], accepted) == ("/id", "/data", 3)
    assert suggest(records)[1] == 0


def test_decoded_values_of_an_audit_and_of_a_suggestion_do_not_fill_the_memory() -> None:
    class Nothing:
        def versions(self, _event_ids: Sequence[str]) -> dict[str, datetime]:
            return {}

        def pruned_before(self) -> datetime | None:
            return None

    value = gzip.compress(make_value(payload={"a": "x" * 900_000}))
    records = [make_record(value, offset=n) for n in range(100)]
    findings = Findings(find_decoder("gzip"))
    assert [*findings.checked(records, validator("gzip").validate)] == []
    assert 60 < len(findings.sample) < 80  # 64 MiB
    tracemalloc.start()
    try:
        assert len([*find_discrepancies(validator("gzip"), records, Nothing())]) == 100
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_without_the_setting_the_contract_is_the_plain_function() -> None:
    assert load_contract(Settings(_env_file=None)).check_contract is check_contract


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere:f", "No module named"),
        ("json:nothing", "no attribute"),
        ("tests.unit.test_decode:PAGE", "no function"),
    ],
)
def test_what_is_no_hook_is_said(name: str, why: str) -> None:
    with pytest.raises(KeepstreamError, match="KEEPSTREAM_DECODE") as caught:
        find_decoder(name)
    assert why in caught.value.message
    assert caught.value.exit_code == 2


def test_the_hook_of_the_page_takes_the_frame_of_a_schema_registry_off() -> None:
    found: dict[str, Any] = {}
    (code,) = (
        block for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "unframe" in block
    )
    exec(code, found)  # noqa: S102 - our own page
    hook = Validator(decoder=Decoder("shop_events.frames:unframe", found["unframe"]))
    framed = b"\0\0\0\0\x07" + make_value(event_id="a")
    event = hook.validate(make_record(framed))
    assert isinstance(event, ValidEvent)
    assert event.event_id == "a"
    assert hook.validate(make_record(b"?")) == Rejection(
        "decode_failed", "decode hook shop_events.frames:unframe raised ValueError"
    )
