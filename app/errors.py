"""Why something could not be done, for whoever asked: a command or the console."""

from __future__ import annotations

FAILED, USAGE, NOT_FOUND, UNREACHABLE, REFUSED = 1, 2, 3, 4, 5


class KeepstreamError(Exception):
    """A stable code, a sentence, a hint how to fix it, and the exit code of a command that meets it."""

    def __init__(self, code: str, message: str, hint: str = "", exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
