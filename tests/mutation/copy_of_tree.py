"""A copy of the tree to make mistakes in; the checkout is never touched."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.import_names import lay_out

REPO = Path(__file__).resolve().parents[2]
FILES = ("pyproject.toml", "README.md", "LICENSE")


@contextmanager
def copy_of_tree() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder)
        lay_out(REPO, copy)
        shutil.copytree(REPO / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(REPO / "docs", copy / "docs")  # some tests run what a page shows
        for name in FILES:
            shutil.copy(REPO / name, copy / name)
        yield copy
