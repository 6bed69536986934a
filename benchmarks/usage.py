"""What processes use: CPU seconds and memory of a process and all it started, read from /proc."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from keepstream.app.embedded.process import descendants

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
UTIME, CSTIME = 11, 14
"""Fields of /proc/PID/stat after the name: utime, stime, and those of children that have ended."""


@dataclass(frozen=True)
class Usage:
    """Seconds since the processes began; megabytes right now, and the most there ever were."""

    cpu_s: float
    rss_mb: float
    peak_mb: float


def usage(pid: int, *, shared: bool = False) -> Usage:
    """Sum up a process tree. ``shared``: its processes share most memory (PostgreSQL), so count each page once."""
    pids = [pid, *descendants(pid)]
    now_kb = [_field(p, "smaps_rollup", "Pss:") if shared else _field(p, "status", "VmRSS:") for p in pids]
    peaks_kb = [_field(p, "status", "VmHWM:") for p in pids]
    return Usage(sum(map(cpu_s, pids)), sum(now_kb) / 1024, sum(peaks_kb) / 1024)


def cpu_s(pid: int) -> float:
    """Return the seconds of one process and its ended children."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return sum(int(field) for field in fields[UTIME : CSTIME + 1]) / CLOCK_TICKS


def _field(pid: int, file: str, name: str) -> int:
    with suppress(OSError):
        for line in (PROC / str(pid) / file).read_text(encoding="utf-8").splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0
