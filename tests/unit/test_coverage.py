"""What has to be read of a dead letter topic lies outside of complete blocks, and nothing of that is left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.app.dlq import coverage
from keepstream.app.dlq.coverage import FRESH_S, IndexCoverage, clip, runs_of, subtract
from keepstream.processors.replay.selection import Selection

BLOCKS = st.sets(st.integers(0, 60)).map(lambda numbers: {(0, number) for number in numbers})
BOUNDS = st.tuples(st.integers(0, 3000), st.integers(0, 3000)).map(lambda ends: (ends[0], sum(ends)))


@given(BOUNDS, BLOCKS, BLOCKS)
def test_only_offsets_of_complete_ranges_are_left_out(
    bounds: tuple[int, int], complete: set[tuple[int, int]], more: set[tuple[int, int]]
) -> None:
    complete |= {(0, number + 1) for _, number in more} | {(0, number) for _, number in more}
    ranges = subtract({0: bounds}, runs_of(complete))[0]
    read = [offset for start, end in ranges for offset in range(start, end)]
    assert read == sorted(set(read)), "ascending, each once"
    left_out = set(range(*bounds)) - set(read)
    assert not left_out & {offset for offset in range(*bounds) if (0, offset // 100) not in complete}
    assert {*read} <= {*range(*bounds)}


def test_long_runs_of_complete_ranges_are_left_out_and_short_ones_are_read() -> None:
    blocks = {(0, number) for number in (*range(1, 11), *range(12, 21), 30)} | {(1, number) for number in range(40)}
    complete = runs_of(blocks)
    assert subtract({0: (50, 3050)}, complete) == {0: [(50, 100), (1100, 3050)]}
    assert subtract({1: (0, 3950)}, complete) == {1: []}
    assert subtract({1: (150, 4001), 2: (0, 10)}, complete) == {1: [(4000, 4001)], 2: [(0, 10)]}


def test_complete_ranges_are_queried_once_until_they_are_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    now, queries = [0.0], iter([{0: [(0, end)]} for end in (2000, 3000)])
    monkeypatch.setattr(coverage, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(coverage, "_complete_ranges", lambda _index, _reader: next(queries))
    index: Any = object()
    kept, bounds = IndexCoverage(), {0: (0, 3500)}
    stale = [kept.is_stale]
    assert [kept.uncovered(index, index, bounds) for _ in range(2)] == [{0: [(2000, 3500)]}] * 2
    now[0] += FRESH_S + 1
    stale.append(kept.is_stale)
    assert kept.uncovered(index, index, bounds) == {0: [(2000, 3500)]}
    kept.load(index, index)
    assert [*stale, kept.is_stale] == [False, True, False]
    assert kept.uncovered(index, index, bounds) == {0: [(3000, 3500)]}


def test_partitions_and_a_first_offset_are_selected() -> None:
    bounds = {0: (10, 20), 1: (10, 20), 2: (90, 95)}
    assert clip(bounds, Selection()) == bounds
    assert clip(bounds, Selection(partitions=(1,), from_offset=15)) == {1: (15, 20)}
    assert clip(bounds, Selection(from_offset=50)) == {0: (20, 20), 1: (20, 20), 2: (90, 95)}
