"""The simulation can fail: whatever breaks the core, some seed of the suite finds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.simulation.seeded_bugs import SABOTAGES
from tests.simulation.simulation import simulate
from tests.simulation.test_seeds import SEEDS


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.__name__)
def test_a_broken_core_is_found(sabotage: Callable[[], Any]) -> None:
    with sabotage():
        found = next((seed for seed in range(SEEDS) if simulate(seed).violation is not None), None)
    assert found is not None, f"no seed below {SEEDS} finds {sabotage.__doc__}"
    assert simulate(found).violation is None, "it is the sabotage that was found"
