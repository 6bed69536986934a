"""Crash points: what the variable may say, and what it costs when it says nothing."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from keepstream.app.config.settings import Settings
from keepstream.app.worker.crash_points import CRASH_POINTS, FailPoint, parse_fail_point


@pytest.mark.parametrize("text", [*CRASH_POINTS, "after-settle:3"])
def test_each_point_is_a_valid_setting(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTREAM_CRASH_AT", text)
    trap = parse_fail_point(Settings().crash_at)
    assert trap == FailPoint(text.partition(":")[0], 3 if ":" in text else 1)


@pytest.mark.parametrize("text", ["after-settle:0", "after-settle:", "after-settle:x", ""])
def test_a_malformed_point_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTREAM_CRASH_AT", text)
    with pytest.raises(ValidationError):
        Settings()


def test_unset_there_is_no_trap() -> None:
    assert parse_fail_point(Settings(_env_file=None).crash_at) is None


def test_only_the_passing_that_was_asked_for_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    died: list[int] = []
    monkeypatch.setattr("keepstream.app.worker.crash_points.os._exit", died.append)
    trap = FailPoint("after-store", 2)
    trap.passing("after-store")
    trap.passing("before-store")
    assert not died
    trap.passing("after-store")
    assert died == [86]
