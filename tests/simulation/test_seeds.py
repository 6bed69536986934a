"""Two thousand worlds. `make simulate` runs a hundred thousand, `make simulate SEED=123` tells the story of one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.__main__ import run_seeds
from tests.simulation.faults import Fault
from tests.simulation.simulation import simulate

SEEDS = 2000


@pytest.mark.timeout(600)  # it computes all the time: on a busy machine that is long
def test_the_promise_holds_in_every_world_and_every_fault_happens() -> None:
    fired, broken = run_seeds(range(SEEDS))
    assert not broken, "\n".join(f"make simulate SEED={seed}   {what}" for seed, what in broken)
    assert [fault.name for fault in Fault if not fired[fault]] == []


@pytest.mark.parametrize("seed", [3, 7, 9])
def test_a_seed_decides_everything(seed: int) -> None:
    """Also in another process, where strings have other hashes."""
    program = f"from tests.simulation.simulation import simulate; print(simulate({seed}).digest)"
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    other = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == simulate(seed).digest != ""
