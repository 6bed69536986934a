"""How a command fails: a stable code, a sentence, a hint how to fix it, an exit code."""

from __future__ import annotations

import json
import sys
from typing import IO, Any

import click

from keepstream.app.errors import FAILED, NOT_FOUND, REFUSED, UNREACHABLE, USAGE, Trouble

__all__ = ["FAILED", "NOT_FOUND", "REFUSED", "UNREACHABLE", "USAGE", "CommandError"]


class CommandError(click.ClickException):
    """Printed on stderr, as JSON when the command was asked for JSON."""

    def __init__(self, code: str, message: str, hint: str = "", exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.exit_code = exit_code

    @classmethod
    def of(cls, trouble: Trouble) -> CommandError:
        return cls(trouble.code, trouble.message, trouble.hint, trouble.exit_code)

    def show(self, file: IO[Any] | None = None) -> None:
        if "--json" in sys.argv:
            error = {"code": self.code, "message": self.message, "hint": self.hint}
            click.echo(json.dumps({"error": error}), file=file, err=True)
            return
        click.echo(f"Error: {self.message}", file=file, err=True)
        if self.hint:
            click.echo(f"  {self.hint}", file=file, err=True)
