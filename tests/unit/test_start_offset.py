"""Where a partition begins after an assignment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.processors.start_offset import CommittedOffset, StartOffset, StartReason, decide_start_offset

S, C, P, G, R, F = (
    StartReason.STORED, StartReason.COMMITTED, StartReason.POLICY, StartReason.GAP, StartReason.RECREATED,
    StartReason.FORGOTTEN,
)  # fmt: skip
OFFSETS = st.integers(0, 20)
GROUP_OFFSETS = st.builds(CommittedOffset, OFFSETS, st.none() | OFFSETS)


def somebodys(offset: int | None) -> CommittedOffset | None:
    """Return what another consumer committed."""
    return None if offset is None else CommittedOffset.parse(offset, "whatever")


@pytest.mark.parametrize(
    ("stored", "committed", "log", "expected"),
    [
        (5, None, (0, 10), StartOffset(5, S)),
        (5, 7, (0, 10), StartOffset(5, S)),
        (0, 7, (0, 10), StartOffset(0, S)),
        (5, None, (5, 10), StartOffset(5, S)),
        (10, None, (0, 10), StartOffset(10, S)),
        (10, None, (10, 10), StartOffset(10, S)),
        (3, None, (5, 10), StartOffset(5, G, 2)),
        (11, None, (0, 10), StartOffset(0, R)),
        (11, 5, (2, 10), StartOffset(2, R)),
        (None, 7, (0, 10), StartOffset(7, C)),
        (None, 10, (0, 10), StartOffset(10, C)),
        (None, 3, (5, 10), StartOffset(5, C, 2)),
        (None, 11, (5, 10), StartOffset(5, P)),
        (None, None, (0, 10), StartOffset(0, P)),
        (None, None, (5, 10), StartOffset(5, P)),
    ],
)
def test_the_decision(stored: int | None, committed: int | None, log: tuple[int, int], expected: StartOffset) -> None:
    assert decide_start_offset(stored, somebodys(committed), *log) == expected


@pytest.mark.parametrize(
    ("stored", "committed", "expected"),
    [
        (None, None, StartOffset(10, P)),
        (None, 3, StartOffset(5, C, 2)),
        (None, 7, StartOffset(7, C)),
        (6, None, StartOffset(6, S)),
        (3, None, StartOffset(5, G, 2)),
        (11, None, StartOffset(5, R)),
    ],
)
def test_latest_only_counts_where_nobody_ever_was(
    stored: int | None, committed: int | None, expected: StartOffset
) -> None:
    assert decide_start_offset(stored, somebodys(committed), 5, 10, reset_to_end=True) == expected


@pytest.mark.parametrize("stored", [0, 5, 7, 10, 11])
def test_another_topic_of_the_same_name_is_read_from_its_start(stored: int) -> None:
    assert decide_start_offset(stored, CommittedOffset(stored), 2, 10, is_other_topic=True) == StartOffset(2, R)


@pytest.mark.parametrize(
    ("stored", "committed", "expected"),
    [
        (None, CommittedOffset(8, 6), StartOffset(6, F)),
        (None, CommittedOffset(8, 5), StartOffset(5, F)),
        (None, CommittedOffset(8, 3), StartOffset(5, F, 2)),
        (None, CommittedOffset(4, 3), StartOffset(5, F, 2)),
        (None, CommittedOffset(10, 10), StartOffset(10, F)),
        (None, CommittedOffset(11, 6), StartOffset(5, P)),
        (7, CommittedOffset(8, 6), StartOffset(7, S)),
    ],
)
@pytest.mark.parametrize("reset_to_end", [False, True])
def test_what_keepstream_committed_is_no_work_of_another_consumer(
    stored: int | None, committed: CommittedOffset, expected: StartOffset, *, reset_to_end: bool
) -> None:
    assert decide_start_offset(stored, committed, 5, 10, reset_to_end=reset_to_end) == expected


@given(st.none() | OFFSETS, st.none() | GROUP_OFFSETS, OFFSETS, OFFSETS)
def test_a_start_lies_in_the_log_and_skips_nothing_that_is_stored_and_still_there(
    stored: int | None, committed: CommittedOffset | None, one: int, other: int
) -> None:
    log_start, log_end = sorted((one, other))
    start = decide_start_offset(stored, committed, log_start, log_end)
    assert log_start <= start.offset <= log_end
    assert 0 <= start.lost <= start.offset
    if stored is not None:
        assert start.offset <= max(stored, log_start)
    elif committed is not None and committed.offset <= log_end:
        first = min(committed.offset, committed.offset if committed.first_offset is None else committed.first_offset)
        assert start.offset - start.lost == first, "what lies between is told"


@given(GROUP_OFFSETS)
def test_a_group_offset_is_read_as_it_was_committed(committed: CommittedOffset) -> None:
    assert CommittedOffset.parse(committed.offset, committed.metadata) == committed


@pytest.mark.parametrize(
    "metadata", ["", "keepstream", "first_offset=3", "keepstream first_offset=3 ", "x keepstream first_offset=3"]
)
def test_other_words_beside_an_offset_say_nothing(metadata: str) -> None:
    assert CommittedOffset.parse(7, metadata) == CommittedOffset(7)
