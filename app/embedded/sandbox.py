"""Temporary folders that are removed after their owner has ended, and the unprivileged user that runs PostgreSQL.

The owner locks a file inside the folder. The kernel releases the lock when the owner ends, also after kill -9 and in
process namespaces that share one /tmp, where a process id would be ambiguous.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from keepstream.app.embedded.errors import POSTGRES_HINT, EmbeddedUnavailableError

PREFIX = "keepstream-embedded-"
LOCK_NAME = "owner.lock"
UNLOCKED_GRACE_S = 3600.0  # a folder without lock file may be under construction


@dataclass(frozen=True)
class Scratch:
    """A locked temporary folder."""

    path: Path
    _lock: IO[bytes]

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def create(kind: str, root: Path) -> Scratch:
    """Create and lock `root`/keepstream-embedded-`kind`-…, after removing folders of ended owners in `root`.

    Its mode is 0711: other users may enter a folder of theirs below, and see no names.
    """
    sweep(root)
    path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-", dir=root))
    path.chmod(0o711)
    return Scratch(path, _locked_file(path))


def sweep(root: Path) -> list[Path]:
    """Remove the folders of ended owners in `root`, and return them."""
    stale = [folder for folder in root.glob(f"{PREFIX}*") if _is_ours(folder)]
    return [folder for folder in stale if _remove_if_orphaned(folder)]


def _locked_file(folder: Path) -> IO[bytes]:
    # Locked before it is renamed: `sweep` never sees the name without the lock.
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


CANDIDATES = ("nobody", "postgres", "daemon")
_SEARCHABLE = stat.S_IXOTH
_READABLE = stat.S_IROTH


@dataclass(frozen=True)
class Account:
    """An existing unprivileged user."""

    name: str
    uid: int
    gid: int


def unprivileged_account() -> Account | None:
    """Return the user to run PostgreSQL as; None when the current user is not root.

    initdb looks its user up in the password file, so a number alone is not enough.
    Raises EmbeddedUnavailableError when none of the usual users exists.
    """
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    reason = f"it refuses to run as root, and none of the users {', '.join(CANDIDATES)} exists"
    raise EmbeddedUnavailableError("PostgreSQL", reason, f"run as an unprivileged user, or {POSTGRES_HINT}")


def reachable(path: Path) -> bool:
    """Whether every user may enter `path` (mode bits for "others" on each folder)."""
    folders = [path.resolve(), *path.resolve().parents]
    return all(folder.stat().st_mode & _SEARCHABLE for folder in folders)


def readable_tree(folder: Path) -> bool:
    """Whether every user may enter `folder` and read every file below it."""
    return reachable(folder) and all(
        entry.stat().st_mode & (_SEARCHABLE if entry.is_dir() else _READABLE) for entry in folder.rglob("*")
    )


def scratch_root(account: Account | None) -> Path:
    """Return the folder for temporary data: the default one unless `account` cannot enter it."""
    usual = Path(tempfile.gettempdir())
    if account is None or reachable(usual):
        return usual
    for folder in (Path("/tmp"), Path("/var/tmp")):  # noqa: S108  mkdtemp names what goes in there
        if folder.is_dir() and reachable(folder):
            return folder
    reason = f"user {account.name} can reach no temporary folder (tried {usual}, /tmp and /var/tmp)"
    raise EmbeddedUnavailableError("PostgreSQL", reason, f"set TMPDIR to one, or {POSTGRES_HINT}")
