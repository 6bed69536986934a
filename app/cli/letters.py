"""The dead letter topic of the settings, opened for a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import letters
from app.cli.shared import load_settings, say

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from processors.selection import Selection


def open_queue(
    selection: Selection | None = None, *, with_ledger: bool = True
) -> AbstractContextManager[letters.Queue]:
    return letters.open_queue(load_settings(), selection, with_ledger=with_ledger, tell=say)
