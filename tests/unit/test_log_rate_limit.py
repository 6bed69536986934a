"""A flood gets a hundred lines a second and one that says how many there were."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

import keepstream.app.worker.instrumentation
from keepstream.app.worker.instrumentation import LogRateLimiter


async def test_what_gets_no_line_is_told_as_a_number_when_the_second_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepstream.app.worker.instrumentation, "SECOND", 0.05)
    told: list[int] = []
    lines = LogRateLimiter(10, told.append)
    assert [lines.take(wanted) for wanted in (4, 4, 4, 4)] == [4, 4, 2, 0]
    assert told == []
    await asyncio.sleep(0.1)
    assert told == [6]
    assert lines.take(10) == 10
    await asyncio.sleep(0.1)
    assert told == [6], "nothing went untold"


async def test_the_number_is_told_without_the_context_of_the_batch_that_came_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keepstream.app.worker.instrumentation, "SECOND", 0.05)
    batch, told = ContextVar("batch", default="none"), list[str]()
    lines = LogRateLimiter(0, lambda _count: told.append(batch.get()))
    batch.set("the first")
    lines.take(1)
    await asyncio.sleep(0.1)
    assert told == ["none"]
