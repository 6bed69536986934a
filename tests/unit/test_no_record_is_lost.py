"""The law of conservation: whatever happens, every record ends in exactly one place and is counted once."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from keepstream.schemas.failure import StepError
from keepstream.schemas.outcome import OutcomeCounts
from tests.builders import make_record, make_value
from tests.malicious_input import as_payload
from tests.unit.pipeline_fixture import PipelineFixture, StoreScript, deadlock, dlq_unavailable, unreachable

POISON = frozenset({"poison-1", "poison-2"})
GOOD = st.builds(
    lambda name, second, x: make_value(event_id=name, timestamp=f"2026-11-24T10:00:0{second}Z", payload={"x": x}),
    st.sampled_from("abcd"),
    st.integers(0, 3),
    st.integers(0, 1),
)
BAD = st.one_of(
    st.sampled_from([None, b"", b"{", b"[]", b"\xff"]),
    st.sampled_from([as_payload(text, event_id) for event_id in ("a", "z") for text in (b"NaN", b"1e999999")]),
    st.sampled_from([*sorted(POISON), "poison-3"]).map(lambda event_id: make_value(event_id=event_id)),
)  # fmt: skip
BATCHES = st.lists(st.lists(st.one_of(GOOD, GOOD, BAD), min_size=1, max_size=12), min_size=1, max_size=4)
UNDELIVERABLE = frozenset({"poison-3"})
SCRIPTS = st.lists(st.sampled_from([None, None, None, "deadlock", "unreachable"]), max_size=40)


def script_of(kinds: list[str | None]) -> list[StepError | None]:
    """Make each error anew: one that is raised twice drags its history along."""
    makers = {"deadlock": deadlock, "unreachable": unreachable}
    return [makers[kind]() if kind else None for kind in kinds]


async def run(world: PipelineFixture, batches: list[list[bytes | None]]) -> list[OutcomeCounts]:
    tallies, offset = [], 0
    for values in batches:
        records = [make_record(value, offset + i) for i, value in enumerate(values)]
        offset += len(values)
        tallies.append(await world.process(records))
    return tallies


@given(BATCHES, SCRIPTS, st.integers(0, 5), st.booleans())
def test_every_record_ends_as_stored_duplicate_stale_or_dead(
    batches: list[list[bytes | None]], script: list[str | None], dlq_failures: int, healthy: bool
) -> None:
    world = PipelineFixture(StoreScript(POISON, script_of(script), undeliverable=UNDELIVERABLE))
    world.letters.failures = [dlq_unavailable() for _ in range(dlq_failures)]
    world.store.is_healthy = healthy
    tallies = asyncio.run(run(world, batches))
    count = sum(map(len, batches))
    total = sum(tallies, OutcomeCounts())

    assert [tally.total for tally in tallies] == [len(values) for values in batches]
    assert world.store.totals == total
    assert world.metrics.settled == tallies
    assert world.next_offset == count

    dead = [letter.record.offset for letter in world.letters.published]
    assert len(dead) == len(set(dead)) == total.dead_lettered
    assert set(world.store.dead_letters) == {letter.id for letter in world.letters.published}
    assert len(world.store.rows) == total.delivered
    assert set(world.statuses.values()) <= {"delivered"}
    assert not (POISON | UNDELIVERABLE) & world.store.rows.keys()


@given(BATCHES)
def test_without_trouble_exactly_the_bad_ones_die(batches: list[list[bytes | None]]) -> None:
    world = PipelineFixture(StoreScript(POISON, undeliverable=UNDELIVERABLE))
    asyncio.run(run(world, batches))
    values = [value for batch in batches for value in batch]
    bad = [i for i, value in enumerate(values) if not value or b'"timestamp": "2026' not in value or b"poison" in value]
    assert sorted(world.causes) == bad


@given(BATCHES, SCRIPTS)
def test_an_ill_store_never_makes_a_good_event_die(batches: list[list[bytes | None]], script: list[str | None]) -> None:
    calm, ill = (
        PipelineFixture(StoreScript(POISON, undeliverable=UNDELIVERABLE)),
        PipelineFixture(StoreScript(POISON, script_of(script), undeliverable=UNDELIVERABLE)),
    )
    ill.store.is_healthy = False
    asyncio.run(run(calm, batches))
    asyncio.run(run(ill, batches))
    assert sorted(ill.causes) == sorted(calm.causes)
    assert ill.store.rows.keys() == calm.store.rows.keys()
    assert ill.store.totals.delivered == calm.store.totals.delivered
