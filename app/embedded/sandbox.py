"""Temporary folders that say whether their owner lives, and the sweeping of those it left.

The owner holds a file lock inside the folder. The kernel drops the lock at the owner's death, also
after kill -9 and across process namespaces that share one /tmp, where a process id would mislead.
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


CANDIDATES = ("nobody", "postgres", "daemon")
_SEARCHABLE = stat.S_IXOTH
_READABLE = stat.S_IROTH


@dataclass(frozen=True)
class Account:
    """An existing ordinary user."""

    name: str
    uid: int
    gid: int


def unprivileged_account() -> Account | None:
    """Choose the user to run PostgreSQL as; None when we are an ordinary user already.

    initdb looks its user up in the password file, so a bare number will not do.
    Raises EmbeddedUnavailableError when root finds none of the usual users.
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
    raise EmbeddedUnavailableError("PostgreSQL", reason, f"run as an ordinary user, or {POSTGRES_HINT}")


def reachable(path: Path) -> bool:
    """Whether any user at all may walk down to `path` (mode bits for "others" on each folder)."""
    folders = [path.resolve(), *path.resolve().parents]
    return all(folder.stat().st_mode & _SEARCHABLE for folder in folders)


def readable_tree(folder: Path) -> bool:
    """Whether any user may walk to `folder` and read every file below it."""
    return reachable(folder) and all(
        entry.stat().st_mode & (_SEARCHABLE if entry.is_dir() else _READABLE) for entry in folder.rglob("*")
    )


def scratch_root(account: Account | None) -> Path:
    """Choose the folder for temporary data: the usual one unless `account` could not reach it."""
    usual = Path(tempfile.gettempdir())
    if account is None or reachable(usual):
        return usual
    for folder in (Path("/tmp"), Path("/var/tmp")):  # noqa: S108  mkdtemp names what goes in there
        if folder.is_dir() and reachable(folder):
            return folder
    reason = f"user {account.name} can reach no temporary folder (tried {usual}, /tmp and /var/tmp)"
    raise EmbeddedUnavailableError("PostgreSQL", reason, f"set TMPDIR to one, or {POSTGRES_HINT}")
