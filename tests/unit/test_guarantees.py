"""docs/guarantees.md names only tests that exist, and each row either names one or says that there is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = (CHECKOUT / "docs" / "guarantees.md").read_text(encoding="utf-8")
BEFORE_THE_SOURCES = TEXT.partition("## Sources")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in BEFORE_THE_SOURCES.splitlines()
    if line.startswith("| ") and not line.startswith(("| Fault ", "| When ", "| --- "))
]
SUITES = [suite.read_text(encoding="utf-8") for suite in (CHECKOUT / "tests").rglob("test_*.py")]


def test_the_matrix_is_there() -> None:
    assert len(ROWS) > 40


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", BEFORE_THE_SOURCES))))
def test_each_named_test_exists(name: str) -> None:
    assert any(f"def {name}(" in suite for suite in SUITES)


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:60] for row in ROWS])
def test_each_row_names_a_test_or_says_that_it_has_none(row: list[str]) -> None:
    assert len(row) in (3, 4)
    test = row[2]
    assert re.search(r"`test_\w+`", test) or test == "**untested**"
