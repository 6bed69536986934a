"""Temporary folders that say whether their owner lives, and the sweeping of those it left.

The owner holds a file lock inside the folder. The kernel drops the lock at the owner's death, also
after kill -9 and across process namespaces that share one /tmp, where a process id would mislead.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PREFIX = "keepstream-embedded-"
LOCK_NAME = "owner.lock"
UNLOCKED_GRACE_S = 3600.0  # a folder without lock file may be one that is being made


@dataclass(frozen=True)
class Scratch:
    """A locked temporary folder."""

    path: Path
    _lock: IO[bytes]

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def create(kind: str, root: Path) -> Scratch:
    """Make `root`/keepstream-embedded-`kind`-…, locked, after sweeping what dead owners left in `root`.

    Its mode is 0711: other users may pass through to a folder of theirs below, and see no names.
    """
    sweep(root)
    path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-", dir=root))
    path.chmod(0o711)
    return Scratch(path, _locked_file(path))


def sweep(root: Path) -> list[Path]:
    """Remove our own folders in `root` whose owner is dead; returns them."""
    stale = [folder for folder in root.glob(f"{PREFIX}*") if _is_ours(folder)]
    return [folder for folder in stale if _remove_if_orphaned(folder)]


def _locked_file(folder: Path) -> IO[bytes]:
    # Locked first, named second: a sweeper never meets the name without the lock.
    unnamed = folder / f"{LOCK_NAME}.new"
    lock = unnamed.open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unnamed.rename(folder / LOCK_NAME)
    return lock


def _is_ours(folder: Path) -> bool:
    try:
        return folder.lstat().st_uid == os.geteuid() and folder.is_dir() and not folder.is_symlink()
    except OSError:
        return False


def _remove_if_orphaned(folder: Path) -> bool:
    with suppress(OSError):
        if not (folder / LOCK_NAME).exists():
            return _remove_if_old(folder)
        with (folder / LOCK_NAME).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            return True
    return False


def _remove_if_old(folder: Path) -> bool:
    old = time.time() - folder.stat().st_mtime > UNLOCKED_GRACE_S
    if old:
        shutil.rmtree(folder, ignore_errors=True)
    return old
