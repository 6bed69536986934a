"""The System V segment that a killed postmaster leaves in the kernel."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

IPC_RMID = 0
_SEGMENT_LINE = 6  # of postmaster.pid: "key id"


def remove_orphaned_segment(postmaster_pid_file: Path, dead_pid: int) -> None:
    """Free the segment that `postmaster.pid` names if the file is that of the dead postmaster.

    A server that is started again frees it itself; one that is not would leave it until the reboot.
    """
    segment = _segment_id(postmaster_pid_file, dead_pid)
    if segment is not None and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).shmctl(segment, IPC_RMID, None)


def _segment_id(postmaster_pid_file: Path, dead_pid: int) -> int | None:
    try:
        lines = postmaster_pid_file.read_text(errors="replace").splitlines()
        return int(lines[_SEGMENT_LINE].split()[1]) if int(lines[0]) == dead_pid else None
    except (OSError, IndexError, ValueError):
        return None
