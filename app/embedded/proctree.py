"""Who descends from whom, read from /proc; killing and waiting for what is not our own child."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PROC = Path("/proc")
GONE_TIMEOUT_S = 10.0


def descendants(pid: int) -> list[int]:
    """Process ids of all children, grandchildren and so on; nearest first."""
    children: dict[int, list[int]] = {}
    for child in _all_pids():
        children.setdefault(_parent(child), []).append(child)
    found = list(children.get(pid, []))
    for child in found:  # grows while it is walked
        found.extend(children.get(child, []))
    return found


def runs(pid: int) -> bool:
    """Whether the process exists and is not merely waiting for its parent to take note (zombie)."""
    fields = _stat_fields(pid)
    return bool(fields) and fields[0] not in {"Z", "X"}


def kill_all(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_gone(pids: Iterable[int], *, timeout_s: float = GONE_TIMEOUT_S) -> bool:
    """Wait until none of them runs; False if one still does at the deadline."""
    deadline = time.monotonic() + timeout_s
    while any(runs(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int:
    fields = _stat_fields(pid)
    return int(fields[1]) if fields else 0


def _stat_fields(pid: int) -> list[str]:
    """State, parent and what follows; empty if there is no such process."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The name in parentheses may itself hold blanks and parentheses.
    return text.rpartition(")")[2].split()
