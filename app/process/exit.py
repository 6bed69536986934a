"""Exit of a worker process: at once after an unexpected error, and within a deadline after a signal."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from keepstream.app.errors import FATAL

log = logging.getLogger(__name__)
LOG_TIMEOUT_S = 5.0
"""Limit for writing the reason: a log whose reader hangs must not keep the process alive."""
ALARM_AFTER_S = 1.0


def exit_fatal(error: BaseException | str) -> None:
    """Log the error in one line and exit with 70, without clean-up that could acknowledge records."""
    exit_within(LOG_TIMEOUT_S, FATAL)
    with suppress(Exception):  # stderr may be closed, its disk full
        log.critical("fatal: %s: %s", type(error).__name__ if isinstance(error, BaseException) else "error", error)
    exit_now(FATAL)


def exit_now(exit_code: int) -> None:
    """Exit without the interpreter's clean-up, which waits for threads of clients."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(exit_code)


def exit_within(limit_s: float, exit_code: int) -> None:
    """Exit after this time, whatever hangs (Faust trap T35).

    Out of memory, a new thread may end before it signals that it runs, and its starter waits for ever (CPython issue
    140746). The kernel's timer needs neither thread nor memory: SIGALRM comes last, and ends the process.
    """
    signal.setitimer(signal.ITIMER_REAL, limit_s + ALARM_AFTER_S)
    deadline = threading.Timer(limit_s, os._exit, [exit_code])
    deadline.daemon = True
    with suppress(RuntimeError):  # no thread can be started: the timer remains
        deadline.start()


def exit_on_thread_memory_error() -> None:
    """Install a hook that exits when a thread ends with a MemoryError: its work would stay undone."""
    uncaught = threading.excepthook

    def exit_or_log(args: threading.ExceptHookArgs) -> None:
        if issubclass(args.exc_type, MemoryError):
            exit_fatal("out of memory: a thread has ended")
        uncaught(args)

    threading.excepthook = exit_or_log


def critical_task(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Create a task whose failure ends the process."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_exit_if_failed)
    return task


def _exit_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        exit_fatal(error)
