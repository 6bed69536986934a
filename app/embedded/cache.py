"""Our cache folder, and one process at a time in it."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_POLL_S = 0.1


def cache_root() -> Path:
    """$XDG_CACHE_HOME/keepstream, by default ~/.cache/keepstream."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "keepstream"


@contextmanager
def exclusive(folder: Path, *, timeout_s: float, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold `folder`'s lock; calls `waiting` once if another process has it.

    Raises TimeoutError after `timeout_s`, OSError when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("wb") as lock:
        deadline = time.monotonic() + timeout_s
        if not _try_lock(lock.fileno()):
            waiting()
            while not _try_lock(lock.fileno()):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another process has held {folder} for {timeout_s:g} s")
                time.sleep(_POLL_S)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
