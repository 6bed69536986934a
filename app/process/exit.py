"""The end of a worker: at once when it met what nobody foresaw, and in time when it was asked to go."""

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
LAST_WORDS_S = 5.0
"""How long the reason may take to be written: a log whose reader hangs must not keep a dead worker alive."""
ALARM_AFTER_S = 1.0


def die(error: BaseException | str) -> None:
    """End the process now: say why in one line and run no clean-up that could acknowledge anything."""
    exit_within(LAST_WORDS_S, FATAL)
    with suppress(Exception):  # stderr may be closed, its disk full
        log.critical("fatal: %s: %s", type(error).__name__ if isinstance(error, BaseException) else "error", error)
    leave(FATAL)


def leave(exit_code: int) -> None:
    """End the process without the interpreter's own clean-up: it waits for threads of clients that nobody needs."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(exit_code)


def exit_within(limit_s: float, exit_code: int) -> None:
    """End the process after this time, whatever hangs (Faust trap T35).

    Out of memory, a new thread may end before it has told that it runs, and its starter waits for ever (CPython issue
    140746). The kernel's timer needs neither thread nor memory: SIGALRM comes last, and ends the process.
    """
    signal.setitimer(signal.ITIMER_REAL, limit_s + ALARM_AFTER_S)
    deadline = threading.Timer(limit_s, os._exit, [exit_code])
    deadline.daemon = True
    with suppress(RuntimeError):  # no thread can be started: then the way out is all there is
        deadline.start()


def handle_sigalrm_as_pid1() -> None:
    """Take SIGALRM ourselves where the kernel would not: it kills no first process of a container that lets it.

    Called on the main thread. Python runs this between two steps of it, so an init (``docker run --init``) is still
    better: behind one, the kernel ends us whatever we do.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGALRM, lambda *_alarm: os._exit(FATAL))


def exit_on_thread_memory_error() -> None:
    """From now on, end the process when a thread ends for want of memory: nobody does what it did."""
    uncaught = threading.excepthook

    def end_or_tell(args: threading.ExceptHookArgs) -> None:
        if issubclass(args.exc_type, MemoryError):
            die("out of memory: a thread has ended")
        uncaught(args)

    threading.excepthook = end_or_tell


def critical_task(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Run something that the worker cannot live without: its failure is not left unseen in a task."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_end_if_failed)
    return task


def _end_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        die(error)
