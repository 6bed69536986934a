"""The one error that reaches users, and every exit code."""

from __future__ import annotations

FAILED, USAGE, NOT_FOUND, UNREACHABLE, REFUSED = 1, 2, 3, 4, 5
FATAL = 70
"""A worker met an error it must not outlive: EX_SOFTWARE of sysexits.h."""
INTERRUPTED = 130
"""Ended by Ctrl-C: 128 + SIGINT, as shells report it."""

CYTHON_FIX = (
    "install a C compiler and Python's headers (gcc, libc6-dev, python3-dev), then: pip install --force-reinstall "
    "--no-deps --no-cache-dir --no-binary faust-streaming faust-streaming=={}"
)
"""For a Faust that was built without a compiler: pip then leaves its Cython extension out, and keeps that wheel."""


class KeepstreamError(Exception):
    """An error with a stable code, a message, a hint how to fix it, and the exit code of the command that meets it.

    The command line prints the fields (as JSON with ``--json``), the console shows them as a page.
    """

    def __init__(self, code: str, message: str, hint: str = "", exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
