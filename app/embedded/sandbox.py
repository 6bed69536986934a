"""Temporary folders that are removed after their owner has ended, and the unprivileged user that runs PostgreSQL.

The owner locks the folder. The kernel releases the lock when the owner ends, also after kill -9 and in process
namespaces that share one /tmp, where a process id would be ambiguous.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from keepstream.app.embedded.errors import POSTGRES_HINT, EmbeddedUnavailableError

PREFIX = "keepstream-server-"
_UNLOCKED = "new-"


@dataclass(frozen=True)
class Scratch:
    """A locked temporary folder."""

    path: Path
    _lock: int

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def create(kind: str, root: Path) -> Scratch:
    """Create and lock `root`/keepstream-server-`kind`-…, after removing folders of ended owners in `root`.

    Its mode is 0711: other users may enter a folder of theirs below, and see no names.
    """
    sweep(root)
    # Locked before it is renamed: `sweep` never sees the name without the lock.
    unlocked = Path(tempfile.mkdtemp(prefix=f"{_UNLOCKED}{PREFIX}{kind}-", dir=root))
    unlocked.chmod(0o711)
    lock = os.open(unlocked, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return Scratch(unlocked.rename(root / unlocked.name.removeprefix(_UNLOCKED)), lock)


def sweep(root: Path) -> list[Path]:
    """Remove the folders of ended owners in `root`, and return them."""
    return [folder for folder in root.glob(f"{PREFIX}*") if _remove_if_orphaned(folder)]


def _remove_if_orphaned(folder: Path) -> bool:
    with suppress(OSError):  # in use, removed meanwhile, or a link
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_uid == os.geteuid():
                shutil.rmtree(folder, ignore_errors=True)
                return True
        finally:
            os.close(lock)
    return False


CANDIDATES = ("nobody", "postgres", "daemon")


def unprivileged_account() -> pwd.struct_passwd | None:
    """Return the user to run PostgreSQL as; None when the current user is not root.

    initdb looks its user up in the password file, so a number alone is not enough.
    Raises EmbeddedUnavailableError when none of the usual users exists.
    """
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    reason = f"it refuses to run as root, and none of the users {', '.join(CANDIDATES)} exists"
    raise EmbeddedUnavailableError("PostgreSQL", reason, f"run as an unprivileged user, or {POSTGRES_HINT}")


def reachable(path: Path) -> bool:
    """Whether every user may enter `path` (mode bits for "others" on each folder)."""
    folders = [path.resolve(), *path.resolve().parents]
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)


def readable_tree(folder: Path) -> bool:
    """Whether every user may enter `folder` and read every file below it."""
    return reachable(folder) and all(
        entry.stat().st_mode & (stat.S_IXOTH if entry.is_dir() else stat.S_IROTH) for entry in folder.rglob("*")
    )
