"""The worker gets no more memory."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import System
from tests.faults.produced_ledger import LedgerProducer, reckon, settled, warmed_up
from tests.faults.report import Row
from tests.real import eventually

pytestmark = [pytest.mark.real, pytest.mark.long]


def limit_memory(pid: int, more_kib: int) -> None:
    """Let a process have so much more memory of its own than it has now."""
    has = re.search(r"VmData:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert has
    resource.prlimit(pid, resource.RLIMIT_DATA, ((int(has[1]) + more_kib) * 1024, resource.RLIM_INFINITY))


@pytest.mark.parametrize("more_kib", [0, 512, 4096])
def test_out_of_memory_costs_no_event(
    more_kib: int, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer],
    row: Callable[[str], Row],
) -> None:  # fmt: skip
    starved = row(f"out of memory: {more_kib} KiB more, and no further")
    system = new_system(partitions=4)
    producer = new_producer(system, broken_every=10)
    worker = warmed_up(system, producer)
    with starved.active():
        limit_memory(worker.process.pid, more_kib)
        producer.send(20_000)
        eventually(lambda: worker.process.exit_code is not None or settled(system) == 20_200, 120, "it ends, or copes")
    assert worker.process.exit_code != 0
    assert worker.process.exit_code or "MemoryError" in worker.process.log_end(10_000), "memory was never short"
    if worker.process.exit_code:
        system.start_worker()
    starved.recovers(lambda: settled(system) == 20_200, 60)
    found = reckon(system, producer)
    system.assert_consistent()
    starved.closes(found)
