"""The named mistakes of `make mutants` can still be made: whoever changes that code mends the edit too."""

from __future__ import annotations

import pytest

from tests.mutation.copy_of_tree import REPO
from tests.mutation.named import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_edit_fits(mutant: Mutant) -> None:
    for edit in mutant.edits:
        assert (REPO / edit.path).read_text().count(edit.old) == 1, edit.path
    for test in mutant.tests:
        assert (REPO / test).exists()
