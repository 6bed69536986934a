"""Script that runs another program, optionally as another user, and ends it when the parent ends.

Run as a script:
    python -I -S launch.py PARENT_PID DEATH_SIGNAL UID GID PROGRAM [ARG...]
UID and GID may be -1 (keep). It is a separate program because `preexec_fn` may deadlock in a process with threads, and
because the death signal must be set after the change of user: Linux clears it when a process changes its credentials.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
EXIT_CANNOT_RUN = 126


def launch_argv(program: Sequence[str], death_signal: int, uid: int = -1, gid: int = -1) -> list[str]:
    """Build the command line that runs ``program`` with this script, as a child of the calling process."""
    options = [str(os.getpid()), str(int(death_signal)), str(uid), str(gid)]
    return [sys.executable, "-I", "-S", __file__, *options, *program]


def _drop_root(uid: int, gid: int) -> None:
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def _set_death_signal(parent_pid: int, death_signal: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:  # the parent ended before the call above
        sys.exit(EXIT_CANNOT_RUN)


def _restore_signals() -> None:
    # Python ignores SIGPIPE and SIGXFSZ at its start, and ignored signals are inherited by exec.
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def main(parent_pid: str, death_signal: str, uid: str, gid: str, *argv: str) -> None:
    try:
        _drop_root(int(uid), int(gid))
        _set_death_signal(int(parent_pid), int(death_signal))
        _restore_signals()
        os.execv(argv[0], argv)  # noqa: S606  no shell is needed
    except OSError as error:
        sys.stderr.write(f"cannot run {argv[0]} as uid {uid}: {error}\n")
        sys.exit(EXIT_CANNOT_RUN)


if __name__ == "__main__":
    main(*sys.argv[1:])
