"""Standard streams that may be missing."""

from __future__ import annotations

import os
import sys


def open_standard_streams() -> None:
    """Give a closed stdin, stdout or stderr to /dev/null.

    Otherwise its number goes to the next socket, and whatever a library prints goes into that socket; and Python's own
    ``sys.stderr`` is None, which nobody expects.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - open for as long as we live
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
