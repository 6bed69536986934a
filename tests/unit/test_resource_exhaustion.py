"""Bombs: the largest values that are accepted cost little more than an honest value of their size, and end nothing."""

from __future__ import annotations

import contextlib
import time

import pytest

from keepstream.app.dlq.format import pretty
from keepstream.processors.replay.outgoing import ChangeError, apply_changes, diff, revalidate
from keepstream.processors.replay.selection import json_path
from keepstream.processors.validation.contract import MAX_DEPTH
from keepstream.processors.validation.validate import Validator, validate
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.event import Rejection, ValidEvent
from tests.builders import make_record, make_value
from tests.malicious_input.records import hostile_values
from tests.malicious_input.resource_exhaustion import bombs
from tests.unit.pipeline_fixture import PipelineFixture, StoreScript, deadlock

BOMBS = bombs()
LIMIT_S = 10.0
"""Of CPU. The slowest takes one or two; what grows with the square of its size takes hours."""
HELD = {
    "a long exponent", "brackets in a string", "empty lists", "escapes of backslash and zero", "many numbers",
    "many keys", "spaces", "one key again and again", "the envelope's keys again and again",
}  # fmt: skip
"""Bombs that are good events, if heavy ones."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_gets_its_verdict_in_time(name: str) -> None:
    began = time.process_time()
    verdict = validate(make_record(BOMBS[name]))
    assert time.process_time() - began < LIMIT_S
    assert isinstance(verdict, ValidEvent) == (name in HELD), verdict


@pytest.mark.timeout(60)
@pytest.mark.parametrize("prefix", ["ce_", "h"])
def test_ever_so_many_headers_are_read_in_time(prefix: str) -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"e"), *((f"{prefix}{i}", b"%d" % i) for i in range(80_000))]
    began = time.process_time()
    assert isinstance(validate(make_record(b"{}", headers=headers)), ValidEvent)
    assert time.process_time() - began < LIMIT_S


@pytest.mark.parametrize("level", [MAX_DEPTH - 1, MAX_DEPTH, 199, 200, 201, 1000, 100_000])
@pytest.mark.parametrize(("opening", "inner", "closing"), [(b"[", b"", b"]"), (b'{"a":', b"1", b"}")])
def test_what_is_too_deep_is_refused_before_any_parser_sees_it(
    level: int, opening: bytes, inner: bytes, closing: bytes
) -> None:
    value = b'{"event_id":"e","payload":{"x":%b}}' % (opening * (level - 2) + inner + closing * (level - 2))
    verdict = validate(make_record(value))
    assert isinstance(verdict, ValidEvent) == (level <= MAX_DEPTH)
    assert isinstance(verdict, ValidEvent) or (isinstance(verdict, Rejection) and verdict.reason == "too_deep")


@pytest.mark.parametrize("step_path", [False, True])
async def test_bombs_die_in_a_batch_and_their_neighbours_are_stored(step_path: bool) -> None:
    world = PipelineFixture(StoreScript(script=[deadlock()] if step_path else []))
    small = bombs(20_000)
    values = [value for bomb in small.values() for value in (bomb, make_value())]
    records = [make_record(value, offset) for offset, value in enumerate(values)]
    await world.process(records)
    assert sorted(world.causes) == [2 * i for i, name in enumerate(small) if name not in HELD]
    verdicts = [(record.offset, validate(record)) for record in records]
    assert world.causes == {i: verdict.reason for i, verdict in verdicts if isinstance(verdict, Rejection)}


@pytest.mark.timeout(60)
def test_whoever_looks_at_a_dead_bomb_is_told_at_most_that_it_cannot_be_changed() -> None:
    dead = [value for value in hostile_values() if value]
    for value in [*bombs(5_000).values(), *dead[::4]]:
        letter = DeadLetterRecord(make_record(value, topic="event-dlq"))
        assert revalidate(Validator(), letter, value) == revalidate(Validator(), letter, value)
        assert diff(letter, value) == ""
        assert isinstance(pretty(value), str)
        with contextlib.suppress(ChangeError):
            assert json_path(apply_changes(value, [("payload.x", "1")]), "payload.x") == "1"
