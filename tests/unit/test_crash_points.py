"""Crash points: what the variable may say, and that only the asked-for hit ends the process."""

from __future__ import annotations

import pytest

from tests.crash_points import CRASH_POINTS, FailPoint, parse_fail_point


@pytest.mark.parametrize("text", [*CRASH_POINTS, "after-settle:3"])
def test_each_point_can_be_named(text: str) -> None:
    assert parse_fail_point(text) == FailPoint(text.partition(":")[0], 3 if ":" in text else 1)


@pytest.mark.parametrize("text", ["after-settle:x", "no-such-point", ""])
def test_a_malformed_point_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"none of|invalid literal"):
        parse_fail_point(text)


def test_only_the_hit_that_was_asked_for_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    died: list[int] = []
    monkeypatch.setattr("tests.crash_points.os._exit", died.append)
    fail_point = FailPoint("after-store", 2)
    fail_point.hit("after-store")
    fail_point.hit("before-store")
    assert not died
    fail_point.hit("after-store")
    assert died == [86]
