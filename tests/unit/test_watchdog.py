"""The watchdog thread against a loop that stands still, and one that does not."""

from __future__ import annotations

import threading
import time
from queue import Empty, Queue

import pytest

from keepstream.app.worker.watchdog import LoopWatchdog, one_line


def stand_still(until: threading.Event) -> None:
    until.wait(10)


def test_a_loop_that_stands_still_is_reported_once_with_where_it_stands() -> None:
    reasons: Queue[str] = Queue()
    watchdog = LoopWatchdog(0.2, reasons.put, tick_s=0.02)
    watchdog.start()
    watchdog.beat()
    release = threading.Event()
    threading.Timer(0.6, release.set).start()
    stand_still(release)
    watchdog.stop()
    reason = reasons.get(timeout=1)
    assert "has been blocked for" in reason
    assert "test_watchdog.py" in reason
    assert "stand_still" in reason
    assert "\n" not in reason
    with pytest.raises(Empty):
        reasons.get(timeout=0.1)


def test_a_loop_that_turns_is_left_alone() -> None:
    reasons: Queue[str] = Queue()
    watchdog = LoopWatchdog(0.5, reasons.put, tick_s=0.02)
    watchdog.start()
    for _ in range(20):
        watchdog.beat()
        time.sleep(0.05)
    watchdog.stop()
    assert reasons.empty()


def test_a_process_that_was_suspended_as_a_whole_is_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """One long tick counts as one tick: the watchdog slept as well."""
    reasons: Queue[str] = Queue()
    watchdog = LoopWatchdog(1.0, reasons.put, tick_s=0.25)
    ticks = iter([False, False, True])

    def long_wait(_limit_s: float) -> bool:
        time.sleep(0.7)
        return next(ticks)

    monkeypatch.setattr(watchdog._stopped, "wait", long_wait)
    watchdog._watch()
    assert reasons.empty()


def test_a_stack_is_one_line_of_rooms_and_functions() -> None:
    assert one_line([("/x/app/a.py", 1, "f"), ("/x/sinks/b.py", 2, "g")]) == "app/a.py:1 f < sinks/b.py:2 g"
    assert one_line([]) == "nowhere"


def test_a_watchdog_that_gets_no_memory_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons: Queue[str] = Queue()
    watchdog = LoopWatchdog(1.0, reasons.put)

    def no_memory(_tick_s: float) -> bool:
        raise MemoryError

    monkeypatch.setattr(watchdog._stopped, "wait", no_memory)
    watchdog._watch()
    assert "out of memory" in reasons.get(timeout=1)
