"""The wall clock jumps under the worker."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.ledger import LedgerProducer, close

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import System
    from tests.faults.report import Row

pytestmark = pytest.mark.real

DAY_S = 86_400


@pytest.fixture
def clock_shift(tmp_path: Path) -> Path:
    """Build the library that moves a process's wall clock; skip where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) to build the clock shift with")
    library = tmp_path / "clock_shift.so"
    source = Path(__file__).with_name("clock_shift.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.mark.long
def test_a_wall_clock_that_jumps_a_day_decides_nothing(
    clock_shift: Path, tmp_path: Path, new_system: Callable[..., System],
    new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row],
) -> None:  # fmt: skip
    jump = row("the worker's wall clock jumps a day, forth and back")
    shift = tmp_path / "shift"
    shift.write_bytes(struct.pack("l", 0))
    system = new_system(partitions=2)
    producer = new_producer(system)
    worker = system.start_worker(LD_PRELOAD=str(clock_shift), CLOCK_SHIFT_FILE=str(shift))
    producer.send(200)
    system.settled(200)
    expected = 200
    for days in (1, -1, 0):
        with jump.active(), shift.open("r+b") as file:
            file.write(struct.pack("l", days * DAY_S))
        producer.send(500)
        expected += 500
        jump.recovers(lambda: system.database.totals()["total"] == expected, 30)  # noqa: B023
    days_seen = {str(line["timestamp"])[:10] for line in worker.log()}
    assert len(days_seen) == 3, f"the clock did not jump: {days_seen}"
    close(jump, system, producer, worker)
