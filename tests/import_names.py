"""A tree laid out as Python imports it, for tests that run a copy: ``app/cli`` becomes ``keepstream/app/cli``."""

from __future__ import annotations

import shutil
from pathlib import Path

LAYERS = ("app", "processors", "schemas", "sinks")


def lay_out(tree: Path, folder: Path) -> None:
    """Copy the product's layers into ``folder/keepstream``; on PYTHONPATH it is found before an editable install."""
    package = folder / "keepstream"
    package.mkdir()
    shutil.copy(tree / "app" / "public" / "__init__.py", package)
    for layer in LAYERS:
        shutil.copytree(tree / layer, package / layer, ignore=shutil.ignore_patterns("__pycache__"))
