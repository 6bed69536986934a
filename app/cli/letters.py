"""The dead letter topic of the settings, opened for a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstream.app.cli.output import load_settings, say
from keepstream.app.dlq import topic as letters

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from keepstream.processors.replay.selection import Selection


def open_queue(
    selection: Selection | None = None, *, with_ledger: bool = True
) -> AbstractContextManager[letters.Queue]:
    return letters.open_queue(load_settings(), selection, with_ledger=with_ledger, tell=say)
