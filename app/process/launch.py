"""Become another program, as another user if asked, and die when the parent dies.

Run as a script, never imported by the processor:
    python -I -S launch.py PARENT_PID DEATH_SIGNAL UID GID PROGRAM [ARG...]
UID and GID may be -1 (keep). It is a program of its own because `preexec_fn` may deadlock in a
process with threads, and because the death signal must be set after the change of user: Linux
clears it whenever a process changes its credentials.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
EXIT_CANNOT_RUN = 126


def _drop_root(uid: int, gid: int) -> None:
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def _die_with(parent_pid: int, death_signal: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the call above
        sys.exit(EXIT_CANNOT_RUN)


def _restore_signals() -> None:
    # Python ignores SIGPIPE and SIGXFSZ at its start, and exec passes what is ignored on.
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def main(parent_pid: str, death_signal: str, uid: str, gid: str, *argv: str) -> None:
    try:
        _drop_root(int(uid), int(gid))
        _die_with(int(parent_pid), int(death_signal))
        _restore_signals()
        os.execv(argv[0], argv)  # noqa: S606  no shell is the point
    except OSError as error:
        sys.stderr.write(f"cannot run {argv[0]} as uid {uid}: {error}\n")
        sys.exit(EXIT_CANNOT_RUN)


if __name__ == "__main__":
    main(*sys.argv[1:])
