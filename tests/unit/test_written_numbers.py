"""What a mapping, a custom contract or a transform lets through is stored with the digits that the record has."""

from __future__ import annotations

import copy
import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from keepstream.app.config.contract import load_contract
from keepstream.app.config.settings import Settings
from keepstream.processors.validation.contract import check_contract
from keepstream.processors.validation.validate import Validator
from keepstream.processors.validation.written_numbers import WrittenNumber, parse_model, to_json
from keepstream.schemas.event import Contract, Event, Rejection, ValidEvent
from keepstream.schemas.record import Record
from tests.builders import AT, make_record

SAMPLES = ["1.10", "1e-999", "123456789012345678.901234567890", "-0.0", "1E+5", "0.1", "12.5", "1e22", "7", "0e0", "-1"]
NUMBERS = st.sampled_from(SAMPLES) | st.from_regex(r"\A-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,3})?\Z")
FINITE = NUMBERS.filter(lambda text: math.isfinite(float(text)))
"""For fields of type `Decimal`: pydantic refuses what is infinite as a float, like 1e400."""


MAPPED = Settings(_env_file=None, mapping={"id": "/id", "payload": "/data", "metadata": "/m"}).mapping.compile()


class Open(Contract):
    """A shape whose numbers have no type."""

    no: str
    data: Any
    exact: Decimal

    def event(self, record: Record) -> Event:
        return Event(event_id=self.no, payload={"data": self.data, "exact": self.exact}, timestamp=AT)


class Dumped(Open):
    """The same, with the whole model as payload."""

    def event(self, record: Record) -> Event:
        return Event(event_id=self.no, payload=self.model_dump(), timestamp=AT, metadata={"n": self.exact})


class Narrow(Event):
    """Our shape, where a member of the payload must be there."""

    class Inner(BaseModel):
        model_config = ConfigDict(extra="allow")
        exact: Decimal

    payload: Inner  # type: ignore[assignment]


def same(event: Event, record: Record) -> Event:
    return event.model_copy(update={"metadata": {"copy": event.payload}})


def exact(text: bytes) -> Any:
    """Parse JSON so that numbers are equal only when their digits are."""
    return json.loads(text, parse_float=_digits, parse_int=lambda number: _digits(int(number)))


def _digits(number: str | int) -> object:
    found = Decimal(number)
    return (found or abs(found)).as_tuple()  # PostgreSQL's zero has no sign


def stored(validator: Validator, value: bytes) -> Any:
    event = validator.check_contract(make_record(value))
    assert isinstance(event, ValidEvent), event
    assert isinstance(check_contract(make_record(event.document)), ValidEvent)
    return exact(event.document)


@example("1.10", "1e-999")
@given(NUMBERS, FINITE)
def test_what_a_contract_of_ones_own_accepts_the_row_says_as_the_record_did(one: str, two: str) -> None:
    value = f'{{"no": "a", "data": [{one}, {{"x": {two}, "s": "1.10"}}], "exact": {two}}}'.encode()
    said = exact(value)
    payload = stored(Validator(Open), value)["payload"]
    assert payload["data"] == said["data"]
    dumped = stored(Validator(Dumped), value)
    assert dumped["payload"]["data"] == said["data"]
    for found in (payload["exact"], dumped["payload"]["exact"], dumped["metadata"]["n"]):
        assert found == said["exact"]


@given(FINITE, NUMBERS)
def test_what_a_transform_does_not_change_keeps_its_digits(one: str, two: str) -> None:
    value = f'{{"event_id": "a", "payload": {{"exact": {one}, "l": [{two}]}}}}'.encode()
    said = exact(value)["payload"]
    for contract in (Event, Narrow):
        found = stored(Validator(contract, {"same": same}), value)
        assert (found["payload"], found["metadata"]["copy"]) == (said, said)


@given(NUMBERS, NUMBERS)
def test_a_mapping_before_them_keeps_them_too(one: str, two: str) -> None:
    value = f'{{"id": 7, "data": {{"exact": {one}, "l": [{two}]}}, "m": {{"n": {two}}}}}'.encode()
    for validator in (Validator(mapping=MAPPED), Validator(transforms={"as_is": lambda e, r: e}, mapping=MAPPED)):
        found = stored(validator, value)
        assert (found["payload"], found["metadata"]) == (exact(value)["data"], exact(value)["m"])


@pytest.mark.parametrize("text", ["1764000000.123456789", "1.764000000123456789e9"])
def test_a_timestamp_since_1970_keeps_its_nanoseconds(text: str) -> None:
    parts = {"id": "key", "payload": "value", "timestamp": "/at", "timestamp_format": "epoch_s"}
    event = load_contract(Settings(_env_file=None, mapping=parts)).validate(make_record(f'{{"at": {text}}}'.encode()))
    assert isinstance(event, ValidEvent)
    assert event.timestamp == "2025-11-24T16:00:00.123456789Z"


class Strict(Contract):
    """A strict model: its date is text in JSON, and no text where it is given as a Python object."""

    model_config = ConfigDict(strict=True)
    no: str
    day: date
    data: Any

    def event(self, record: Record) -> Event:
        return Event(event_id=self.no, payload={"day": self.day, "data": self.data}, timestamp=AT)


def test_a_strict_model_accepts_what_it_did_with_pythons_digits() -> None:
    value = b'{"no": "a", "day": "2026-11-24", "data": 1.10000000000000000001}'
    event = Validator(Strict).validate(make_record(value))
    assert isinstance(event, ValidEvent)
    assert json.loads(event.document)["payload"] == {"day": "2026-11-24", "data": 1.1}


class Typed(BaseModel):
    """Fields that pydantic compares."""

    price: Decimal = Field(gt=0, decimal_places=2)
    share: float = Field(lt=1)
    at: AwareDatetime


def test_rules_of_fields_apply_and_a_float_is_a_float() -> None:
    found = parse_model(Typed, b'{"price": 1.10, "share": 0.10, "at": "2026-11-24T10:00:00Z"}')
    assert (str(found.price), found.share, type(found.share)) == ("1.10", 0.1, float)
    assert found.at == datetime(2026, 11, 24, 10, tzinfo=UTC)
    verdict = Validator(Open).validate(make_record(b'{"no": "a", "data": 1.10, "exact": {}}'))
    assert isinstance(verdict, Rejection)
    assert verdict.message.startswith("exact: ")


def test_a_written_number_counts_and_is_copied_as_a_number() -> None:
    number = WrittenNumber("1.10")
    assert (number, number * 2, str(number), f"{number}") == (1.1, 2.2, "1.10", "1.10")
    assert Decimal(str(number)) == Decimal("1.10")
    assert str(copy.deepcopy({"n": number})["n"]) == "1.10"


def test_beside_numbers_everything_is_written_as_pydantic_writes_it() -> None:
    others: dict[Any, Any] = {
        "at": datetime(2026, 11, 24, 10, tzinfo=UTC), "id": UUID(int=7), "b": b"x", "none": None, "t": (1, "\u00e9"),
        "set": {1}, 7: True, True: "key", "model": {"inner": [date(2026, 1, 1)]},
    }  # fmt: skip
    with_number = json.loads(to_json(others | {"n": {Decimal("1.10")}}))
    assert with_number.pop("n") == [1.1]
    assert with_number == json.loads(to_json(others))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "sNaN"])
def test_what_is_no_number_is_refused(number: str) -> None:
    def spoiled(event: Event, record: Record) -> Event:
        return event.model_copy(update={"payload": {"n": Decimal(number)}})

    verdict = Validator(transforms={"spoiled": spoiled}).validate(make_record(b'{"event_id": "a", "payload": {}}'))
    assert isinstance(verdict, Rejection)
