"""Where a partition begins after an assignment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.start import Start, StartReason, decide_start

S, C, P, G, R = (
    StartReason.STORED, StartReason.COMMITTED, StartReason.POLICY, StartReason.GAP, StartReason.RECREATED,
)  # fmt: skip
OFFSETS = st.integers(0, 20)


@pytest.mark.parametrize(
    ("stored", "committed", "log", "expected"),
    [
        (5, None, (0, 10), Start(5, 5, S)),
        (5, 7, (0, 10), Start(5, 5, S)),
        (0, 7, (0, 10), Start(0, 0, S)),
        (5, None, (5, 10), Start(5, 5, S)),
        (10, None, (0, 10), Start(10, 10, S)),
        (10, None, (10, 10), Start(10, 10, S)),
        (3, None, (5, 10), Start(5, 3, G, 2)),
        (11, None, (0, 10), Start(0, 0, R)),
        (11, 5, (2, 10), Start(2, 2, R)),
        (None, 7, (0, 10), Start(7, 7, C)),
        (None, 10, (0, 10), Start(10, 10, C)),
        (None, 3, (5, 10), Start(5, 5, P)),
        (None, 11, (5, 10), Start(5, 5, P)),
        (None, None, (0, 10), Start(0, 0, P)),
        (None, None, (5, 10), Start(5, 5, P)),
    ],
)
def test_the_decision(stored: int | None, committed: int | None, log: tuple[int, int], expected: Start) -> None:
    assert decide_start(stored, committed, *log) == expected


@pytest.mark.parametrize(
    ("stored", "committed", "expected"),
    [
        (None, None, Start(10, 10, P)),
        (None, 3, Start(5, 5, P)),
        (None, 7, Start(7, 7, C)),
        (6, None, Start(6, 6, S)),
        (3, None, Start(5, 3, G, 2)),
        (11, None, Start(5, 5, R)),
    ],
)
def test_latest_only_counts_where_nobody_ever_was(stored: int | None, committed: int | None, expected: Start) -> None:
    assert decide_start(stored, committed, 5, 10, reset_to_end=True) == expected


@pytest.mark.parametrize("stored", [0, 5, 7, 10, 11])
def test_another_topic_of_the_same_name_is_read_from_its_start(stored: int) -> None:
    assert decide_start(stored, stored, 2, 10, is_other_topic=True) == Start(2, 2, R)


@given(st.none() | OFFSETS, st.none() | OFFSETS, OFFSETS, OFFSETS)
def test_a_start_lies_in_the_log_and_skips_nothing_that_is_stored_and_still_there(
    stored: int | None, committed: int | None, one: int, other: int
) -> None:
    log_start, log_end = sorted((one, other))
    start = decide_start(stored, committed, log_start, log_end)
    assert log_start <= start.offset <= log_end
    assert start.fence <= start.offset
    assert start.lost == start.offset - start.fence
    if stored is not None:
        assert start.offset <= max(stored, log_start)
