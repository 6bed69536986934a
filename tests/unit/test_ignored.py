"""Records that are ignored, by a rule, as tombstones, or by a contract or transform: neither row nor dead letter."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from keepstream import Contract, Event, Ignored, Record, Rejection
from keepstream.app.config.contract import load_contract
from keepstream.app.config.settings import Settings
from keepstream.app.errors import KeepstreamError
from keepstream.processors.audit import find_discrepancies
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.outcome import OutcomeCounts
from tests.builders import AT, RECORD_TIMESTAMP_MS, make_record, make_value
from tests.unit.pipeline_fixture import PipelineFixture, StoreScript, deadlock, unreachable
from tests.unit.test_audit import StoreResult

HEARTBEAT = b'{"type": "heartbeat", "ok": true, "n": 1}'


def validator(**mapping: Any) -> Validator:
    return load_contract(Settings(_env_file=None, mapping=mapping))


def is_ignored(rule: dict[str, Any], value: bytes | None, **record: Any) -> bool:
    return validator(ignore=[rule]).validate(make_record(value, **record)) == Ignored()


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ({"source": "/type", "equals": "heartbeat"}, True),
        ({"source": "/type", "equals": "order"}, False),
        ({"source": "/n", "equals": 1}, True),
        ({"source": "/n", "equals": "1"}, False),
        ({"source": "/n", "equals": True}, False),
        ({"source": "/ok", "equals": True}, True),
        ({"source": "/ok", "equals": 1}, False),
        ({"source": "/ok", "present": True}, True),
        ({"source": "/order/no", "present": False}, True),
        ({"source": "/order/no", "present": True}, False),
        ({"source": "header:test", "equals": "yes"}, True),
        ({"source": "header:test", "present": False}, False),
        ({"source": "header:other", "present": False}, True),
        ({"source": "key", "equals": "k"}, True),
        ({"source": "key", "present": False}, False),
    ],
)
def test_a_rule_compares_with_what_its_source_finds(rule: dict[str, Any], holds: bool) -> None:
    assert is_ignored(rule, HEARTBEAT, key=b"k", headers=[("test", b"yes")]) is holds


@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b"[" * 10_000, b" " * (1024 * 1024) + b"{}"])
def test_what_is_not_json_is_never_ignored_for_a_path_that_it_lacks(value: bytes | None) -> None:
    assert not is_ignored({"source": "/order", "present": False}, value)
    assert is_ignored({"source": "header:test", "present": True}, value, headers=[("test", b"1")])


def test_a_key_that_is_no_text_is_present_and_equals_nothing() -> None:
    assert is_ignored({"source": "key", "present": True}, b"{}", key=b"\xff")
    assert not is_ignored({"source": "key", "equals": "k"}, b"{}", key=b"\xff")


def test_any_of_several_rules_is_enough_and_others_are_events() -> None:
    check = validator(
        ignore=[{"source": "/type", "equals": "a"}, {"source": "header:test", "present": True}]
    ).check_contract
    assert check(make_record(b'{"type": "a"}')) == Ignored()
    assert check(make_record(make_value(), headers=[("test", b"1")])) == Ignored()
    assert isinstance(check(make_record(make_value())), ValidEvent)


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({"ignore": [{"source": "/a"}]}, "either equals or present"),
        ({"ignore": [{"source": "/a", "equals": "x", "present": True}]}, "either equals or present"),
        ({"ignore": [{"source": "header:a", "equals": 1}]}, 'write equals = "1"'),
        ({"ignore": [{"source": "sha256", "equals": "x"}]}, "a rule takes a path"),
        ({"ignore": [{"source": "a-{key}", "equals": "x"}]}, "a rule takes a path"),
        ({"ignore": [{"source": "/a", "equals": 1.5}]}, "ignore"),
        ({"tombstones": "skip"}, "tombstones"),
        ({"tombstones": "delete", "id": "/no"}, "tombstone_id: is required"),
        ({"tombstones": "delete", "preset": "debezium"}, "tombstone_id: is required"),
        ({"tombstones": "delete", "tombstone_id": "order-{/no}"}, "needs a value, which a tombstone has not"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_at_the_start(mapping: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings(_env_file=None, mapping=mapping)


def deleted(key: bytes | None = b"a", headers: Any = (), **mapping: Any) -> dict[str, Any]:
    record = make_record(None, 3, key=key, headers=headers)
    verdict = validator(tombstones="delete", **mapping).validate(record)
    assert isinstance(verdict, ValidEvent), verdict
    assert not verdict.is_undated
    stored: dict[str, Any] = json.loads(verdict.document)
    return stored


def test_a_tombstone_that_deletes_is_a_version_marked_as_deleted_at_the_time_of_its_record() -> None:
    stored = deleted()
    assert (stored["event_id"], stored["payload"], stored["metadata"]) == ("a", {}, {"deleted": True})
    assert stored["timestamp"] == "2026-11-24T10:00:00.000+00:00"
    assert RECORD_TIMESTAMP_MS == 1_795_514_400_000


@pytest.mark.parametrize(
    ("mapping", "event_id"),
    [
        ({"id": "header:id"}, "h-1"),
        ({"id": "order-{key}", "timestamp": "/at"}, "order-a"),
        ({"id": "/no", "tombstone_id": "order-{key}"}, "order-a"),
        ({"preset": "debezium", "tombstone_id": "shop.orders {key}"}, "shop.orders a"),
        ({"timestamp": "record"}, "a"),
    ],
)
def test_the_id_of_a_deleted_event_comes_from_the_mapping(mapping: dict[str, Any], event_id: str) -> None:
    assert deleted(headers=[("id", b"h-1")], **mapping)["event_id"] == event_id


def test_where_events_have_their_timestamp_in_a_header_so_has_a_tombstone() -> None:
    given: dict[str, Any] = {"id": "key", "timestamp": "header:at", "timestamp_format": "epoch_s"}
    assert deleted(headers=[("at", b"1764000000")], **given)["timestamp"] == "2025-11-24T16:00:00Z"
    verdict = validator(tombstones="delete", **given).validate(make_record(None, key=b"a"))
    assert isinstance(verdict, Rejection)
    assert verdict.message.startswith("header:at: is required")


@pytest.mark.parametrize(
    ("key", "reason"),
    [(None, "tombstone"), (b"", "tombstone"), (b"\xff", "invalid_utf8"), (b"x" * 256, "invalid_field")],
)
def test_a_tombstone_that_does_not_name_its_event_is_a_dead_letter(key: bytes | None, reason: str) -> None:
    verdict = validator(tombstones="delete").validate(make_record(None, key=key))
    assert isinstance(verdict, Rejection)
    assert verdict.reason == reason


def test_a_tombstone_of_a_record_without_a_timestamp_is_a_dead_letter() -> None:
    verdict = validator(tombstones="delete").validate(make_record(None, key=b"a", timestamp=-1))
    assert isinstance(verdict, Rejection)
    assert verdict.reason == "invalid_timestamp"


def test_an_event_in_headers_alone_is_no_tombstone() -> None:
    cloud = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/s")]
    check = validator(preset="cloudevents", tombstones="ignore").validate
    assert isinstance(check(make_record(None, headers=cloud)), ValidEvent)
    assert check(make_record(None)) == Ignored()
    assert isinstance(check(make_record(b"")), Rejection)


class Order(Contract):
    """An order, a test of one, or a delete."""

    no: int

    def event(self, record: Record) -> Event | Rejection | Ignored:
        return Ignored() if self.no == 0 else Event(event_id=f"order-{self.no}", payload={"no": self.no}, timestamp=AT)

    @classmethod
    def tombstone(cls, record: Record) -> Event | Rejection | Ignored | None:
        match record.key:
            case b"leave":
                return None
            case b"ignore":
                return Ignored()
            case b"fail":
                raise KeyError
            case _:
                return Event(event_id="order-7", payload={"gone": True})


class Plain(Contract):
    """A contract that has nothing to say about tombstones."""

    def event(self, record: Record) -> Event:
        return Event(event_id="plain", payload={})


def hide(event: Event, record: Record) -> Event | Ignored:
    return Ignored() if record.key == b"hide" else event.model_copy(update={"metadata": {"seen": True}})


def test_a_contract_and_a_transform_may_ignore_a_record() -> None:
    check = Validator(Order, {"hide": hide}).validate
    assert check(make_record(b'{"no": 0}')) == Ignored()
    assert check(make_record(b'{"no": 1}', key=b"hide")) == Ignored()
    event = check(make_record(b'{"no": 1}', key=b"k"))
    assert isinstance(event, ValidEvent)
    assert json.loads(event.document)["metadata"] == {"seen": True}


def test_a_contract_is_asked_about_a_record_without_a_value_before_the_setting() -> None:
    check = Validator(Order, {"hide": hide}).validate
    event = check(make_record(None, key=b"7"))
    assert isinstance(event, ValidEvent)
    assert (event.event_id, json.loads(event.document)["metadata"]) == ("order-7", {"seen": True})
    assert check(make_record(None, key=b"ignore")) == Ignored()
    assert check(make_record(None, key=b"hide")) == Ignored()
    failed, left = check(make_record(None, key=b"fail")), check(make_record(None, key=b"leave"))
    assert isinstance(failed, Rejection)
    assert isinstance(left, Rejection)
    assert (failed.reason, left.reason) == ("contract_failed", "tombstone")
    taken = Validator(Plain, tombstone=lambda _record: Ignored()).validate
    assert taken(make_record(None)) == Ignored()


def test_a_delete_with_a_contract_of_ones_own_needs_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    contract, mapping = f"{__name__}:Order", {"tombstones": "delete"}
    with pytest.raises(KeepstreamError, match="TOMBSTONE_ID"):
        load_contract(Settings(_env_file=None, contract=contract, mapping=mapping))
    loaded = load_contract(
        Settings(_env_file=None, contract=contract, mapping=mapping | {"tombstone_id": "order-{key}"})
    )
    event = loaded.validate(make_record(None, key=b"leave"))
    assert isinstance(event, ValidEvent)
    assert event.event_id == "order-leave"


async def process(
    values: Sequence[bytes | None], tombstones: str, script: Any = (), **options: Any
) -> tuple[OutcomeCounts, PipelineFixture]:
    world = PipelineFixture(StoreScript(frozenset({"poison"}), [*script], **options))
    world.pipeline = replace(world.pipeline, validator=validator(tombstones=tombstones))
    keys = itertools.cycle([b"a"])
    counts = await world.process(
        [make_record(v, i, key=next(keys), timestamp=RECORD_TIMESTAMP_MS + i) for i, v in enumerate(values)]
    )
    return counts, world


async def test_ignored_records_are_counted_with_the_offset_and_are_nowhere() -> None:
    counts, world = await process([make_value(event_id="a"), None, b"{", None], "ignore")
    assert counts == world.store.totals == OutcomeCounts(delivered=1, dead_lettered=1, ignored=2)
    assert (world.next_offset, counts.total, world.rules.calls) == (4, 4, [("settle", 1)])
    assert world.causes == {2: "invalid_json"}


async def test_a_batch_of_ignored_records_moves_the_offset_and_waits_for_its_environment() -> None:
    counts, world = await process([None] * 3, "ignore", [deadlock(), unreachable(), deadlock(), deadlock(), deadlock()])
    assert counts == world.store.totals == OutcomeCounts(ignored=3)
    assert (world.next_offset, world.causes) == (3, {})


async def test_a_refused_batch_is_halved_with_its_ignored_records() -> None:
    values = [None, make_value(event_id="b"), None, make_value(event_id="poison"), None, make_value(event_id="c"), None]
    counts, world = await process(values, "ignore")
    assert counts == world.store.totals == OutcomeCounts(delivered=2, dead_lettered=1, ignored=4)
    assert sum(records for _, _, records in world.store.settled) == world.next_offset == 7


async def test_tombstones_neither_die_nor_count_for_the_dead_letter_limit() -> None:
    world = PipelineFixture()
    limit = replace(world.pipeline.outbox.limit, limit=2)
    outbox = replace(world.pipeline.outbox, limit=limit)
    world.pipeline = replace(world.pipeline, outbox=outbox, validator=validator(tombstones="ignore"))
    counts = await world.process([make_record(None, offset) for offset in range(50)])
    assert counts == OutcomeCounts(ignored=50)


async def test_a_delete_and_an_event_of_one_batch_end_as_they_would_one_by_one() -> None:
    """The event's own time is that of the first record: a tombstone of the same key is as old or newer."""
    older = make_value(event_id="a", timestamp="2026-11-24T09:59:00Z")
    newer = make_value(event_id="a", timestamp="2026-11-24T10:00:30Z")
    counts, world = await process([older, None, None, older], "delete")
    assert (counts.delivered, counts.duplicate, counts.stale) == (1, 2, 1)
    assert json.loads(world.store.rows["a"].document)["metadata"] == {"deleted": True}
    assert json.loads(world.store.rows["a"].document)["timestamp"].startswith("2026-11-24T10:00:00.002")
    counts, world = await process([None, newer, None], "delete")
    assert (counts.delivered, counts.duplicate, counts.stale) == (1, 1, 1)
    assert json.loads(world.store.rows["a"].document)["metadata"] == {"source": "test"}


def test_the_audit_looks_for_no_row_of_an_ignored_record() -> None:
    records = [make_record(None, 0, key=b"a"), make_record(None, 1, key=b"b")]
    assert [*find_discrepancies(validator(tombstones="ignore"), records, StoreResult())] == []
    stored = StoreResult({"a": "2026-11-24T10:00:00Z"})
    (found,) = find_discrepancies(validator(tombstones="delete"), records, stored)
    assert (found.kind, found.event_id) == ("missing", "b")
