"""The watchdog thread: ends a worker whose event loop stands still, and says where it stands."""

from __future__ import annotations

import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from keepstream.app.process.exit import die

if TYPE_CHECKING:
    from collections.abc import Callable

TICK_S = 1.0
MAX_FRAMES = 12


class LoopWatchdog:
    """Counts its own ticks between two beats of the loop, and not the clock.

    So a process that was suspended as a whole (SIGSTOP, a sleeping machine) is not taken for a stuck one: its watchdog
    was suspended too. It cannot help where C code holds the interpreter lock; there ``/livez`` fails.
    """

    def __init__(self, limit_s: float, on_stuck: Callable[[str], None] = die, tick_s: float = TICK_S) -> None:
        self._limit_s = limit_s
        self._on_stuck = on_stuck
        self._tick_s = min(tick_s, limit_s / 4)
        self._beats = 0
        self._watched = threading.get_ident()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Watch the thread that made this object."""
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def beat(self) -> None:
        """Say that the loop turns. Called on the loop."""
        self._beats += 1

    def _watch(self) -> None:
        try:
            self._count_beats()
        except MemoryError:
            self._on_stuck("out of memory: the watchdog cannot watch")

    def _count_beats(self) -> None:
        seen, silent_s = -1, 0.0
        while not self._stopped.wait(self._tick_s):
            beats = self._beats
            silent_s = silent_s + self._tick_s if beats == seen else 0.0
            seen = beats
            if silent_s >= self._limit_s:
                where = stack_of_thread(self._watched)
                self._on_stuck(f"the event loop has not turned for {silent_s:.0f} s; it stands at {where}")
                return


def stack_of_thread(ident: int) -> str:
    """Return a thread's stack in one line, innermost frame first."""
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - documented, for debuggers
    frames = traceback.extract_stack(frame) if frame else []
    return in_one_line([(entry.filename, entry.lineno, entry.name) for entry in reversed(frames)])


def in_one_line(frames: list[tuple[str, int | None, str]]) -> str:
    """Write (file, line, function) as ``room/file.py:12 function < ...``."""
    told = [f"{'/'.join(Path(file).parts[-2:])}:{line} {name}" for file, line, name in frames[:MAX_FRAMES]]
    return " < ".join(told) or "nowhere"
