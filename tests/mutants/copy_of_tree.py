"""A copy of the tree to make mistakes in; the checkout is never touched."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

REPO = Path(__file__).resolve().parents[2]
ROOMS = ("app", "processors", "schemas", "sinks", "tests")
FILES = ("pyproject.toml", "README.md", "LICENSE")


@contextmanager
def copy_of_tree() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder)
        for room in ROOMS:
            shutil.copytree(REPO / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
        for name in FILES:
            shutil.copy(REPO / name, copy / name)
        yield copy
