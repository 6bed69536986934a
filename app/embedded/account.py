"""Which user runs a server that refuses root, and what that user can reach."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from keepstream.app.embedded.errors import POSTGRES_HINT, EmbeddedUnavailableError

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
