"""The mistakes of `make mutants` can still be made: whoever changes that code mends the edit too."""

from __future__ import annotations

import pytest

from tests.mutation import mutmut
from tests.mutation.copy_of_tree import REPO
from tests.mutation.named import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_edit_fits(mutant: Mutant) -> None:
    for edit in mutant.edits:
        assert (REPO / edit.path).read_text().count(edit.old) == 1, edit.path
    for test in mutant.tests:
        assert (REPO / test).exists()


def test_mutmut_finds_its_modules_and_their_tests() -> None:
    for path in (*mutmut.MODULES, *(f"tests/unit/test_{name}.py" for name in mutmut.TESTS)):
        assert (REPO / path).exists(), path
