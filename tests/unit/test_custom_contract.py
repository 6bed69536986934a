"""Another event shape and steps of one's own: what they may return, and what becomes of their mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, model_validator

from keepstream.app.config.contract import find_contract, load_contract
from keepstream.app.config.settings import Settings
from keepstream.app.errors import KeepstreamError
from keepstream.processors.validation.contract import check_contract
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.event import Contract, Event, Rejection, ValidEvent
from keepstream.schemas.record import Record
from tests.builders import AT, make_record, make_value


class Order(Contract):
    """A flat shape."""

    no: int
    note: Any = None

    @model_validator(mode="after")
    def _known(self) -> Order:
        if self.no == 13:
            raise ValueError("13 is no order")
        return self

    def event(self, record: Record) -> Event | Rejection:
        if self.no == 0:
            return Rejection("no_order", "no: 0 is no order")
        if self.no == -1:
            raise KeyError(self.note)
        return Event(event_id=f"order-{self.no}" if self.no < 10**9 else "", payload=self.model_dump(), timestamp=AT)


class Narrow(Event):
    """Our shape, with a payload of one's own."""

    class Amount(BaseModel):
        model_config = ConfigDict(strict=True)
        amount: int

    payload: Amount  # type: ignore[assignment]


def document(validator: Validator, value: bytes) -> dict[str, Any]:
    verdict = validator.validate(make_record(value, 7))
    assert isinstance(verdict, ValidEvent), verdict
    return dict(json.loads(verdict.document))


def refusal(validator: Validator, value: bytes) -> tuple[str, str]:
    verdict = validator.validate(make_record(value))
    assert isinstance(verdict, Rejection), verdict
    return verdict.reason, verdict.message


def test_another_shape_becomes_an_event_of_ours() -> None:
    validator = Validator(Order)
    assert document(validator, b'{"no": 5, "note": null}') == {
        "event_id": "order-5", "payload": {"no": 5, "note": None}, "timestamp": AT, "retry_attempt": 0,
        "correlation_id": "order-5", "@offset": 7, "@undated": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (b'{"no": "x"}', "invalid_field", "no: "),
        (b"{}", "missing_field", "no: is required and absent"),
        (b"[]", "not_an_object", "not an object"),
        (b"{", "invalid_json", "not JSON"),
        (b'{"no": 13}', "invalid_field", "13 is no order"),
        (b'{"no": 0}', "no_order", "0 is no order"),
        (b'{"no": 1000000000}', "invalid_field", "event_id: must not be empty"),
        (b'{"no": -1, "note": "s3cret"}', "contract_failed", "Order raised KeyError"),
        (b'{"no": 1, "note": NaN}', "not_finite_number", "NaN"),
        (b'{"no": 1, "note": "\\u0000"}', "nul_character", "u0000"),
    ],
)
def test_what_it_refuses_or_fails_at_is_a_rejection(value: bytes, reason: str, words: str) -> None:
    validator = Validator(Order)
    found, message = refusal(validator, value)
    assert found == reason
    assert words in message
    assert "s3cret" not in message


def test_a_narrower_shape_keeps_the_producers_bytes() -> None:
    validator = Validator(Narrow)
    value = b'{"event_id":"a", "payload":{"amount":1, "more":1.10000000000000000001}, "timestamp":"%b"}' % AT.encode()
    verdict = validator.check_contract(make_record(value))
    assert isinstance(verdict, ValidEvent)
    assert b"1.10000000000000000001" in verdict.document
    assert refusal(validator, make_value(payload={"amount": "1"}))[0] == "invalid_field"


def doubled(event: Event, record: Record) -> Event:
    return event.model_copy(update={"payload": {"amount": event.payload["amount"] * 2}})


def tagged(event: Event, record: Record) -> Event:
    return event.model_copy(update={"metadata": {"amount": event.payload["amount"], "offset": record.offset}})


def test_steps_run_in_their_order() -> None:
    validator = Validator(transforms={"doubled": doubled, "tagged": tagged})
    assert document(validator, make_value(payload={"amount": 2}))["metadata"] == {"amount": 4, "offset": 7}
    validator = Validator(transforms={"tagged": tagged, "doubled": doubled})
    assert document(validator, make_value(payload={"amount": 2}))["metadata"] == {"amount": 2, "offset": 7}


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda event, record: Rejection("unwanted", "not today"), "unwanted"),
        (lambda event, record: None, "contract_failed"),
        (lambda event, record: event.payload["s3cret"], "contract_failed"),
        (lambda event, record: event.model_copy(update={"event_id": ""}), "invalid_field"),
        (lambda event, record: event.model_copy(update={"payload": []}), "invalid_field"),
        (lambda event, record: event.model_copy(update={"payload": {"x": object()}}), "contract_failed"),
    ],
)
def test_whatever_a_step_returns_our_own_contract_applies(step: Callable[[Event, Record], Any], reason: str) -> None:
    validator = Validator(transforms={"step": step})
    found, message = refusal(validator, make_value())
    assert found == reason
    assert "s3cret" not in message


def test_cloud_events_reach_the_steps_as_events() -> None:
    validator = Validator(transforms={"doubled": doubled})
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"c")]
    verdict = validator.validate(make_record(b'{"amount": 2}', headers=headers))
    assert isinstance(verdict, ValidEvent)
    assert json.loads(verdict.document)["payload"] == {"amount": 4}


def test_without_the_settings_nothing_is_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTREAM_CONTRACT", "tests.unit.test_custom_contract:Order")
    assert document(load_contract(Settings(_env_file=None)), b'{"no": 5}')["event_id"] == "order-5"
    monkeypatch.delenv("KEEPSTREAM_CONTRACT")
    assert load_contract(Settings(_env_file=None)).check_contract is check_contract


@pytest.mark.parametrize("place", ["tests.unit.test_custom_contract:doubled", "json:JSONDecoder", "nowhere:X"])
def test_what_is_no_contract_is_said(place: str) -> None:
    with pytest.raises(KeepstreamError, match="KEEPSTREAM_CONTRACT") as caught:
        find_contract(place)
    assert caught.value.exit_code == 2
