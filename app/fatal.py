"""The end of a worker that met what nobody foresaw."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

log = logging.getLogger(__name__)
EXIT_FATAL = 70


def die(error: BaseException | str) -> None:
    """End the process now: say why in one line and run no clean-up that could acknowledge anything."""
    log.critical("fatal: %s: %s", type(error).__name__ if isinstance(error, BaseException) else "error", error)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(EXIT_FATAL)


def vital_task(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Run something that the worker cannot live without: its failure is not left unseen in a task."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_end_if_failed)
    return task


def _end_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        die(error)
