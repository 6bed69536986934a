"""``keepstream worker --workers N``: a process each, one life."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable

import pytest

from keepstream.app.embedded.process import descendants, runs
from tests.acceptance.conftest import System, Worker
from tests.builders import make_value
from tests.real import eventually

pytestmark = [pytest.mark.real, pytest.mark.long]


def pids(fleet: Worker) -> dict[int, int]:
    """Return each worker's process, the newest, by its number."""
    said = (re.match(r"worker (\d+) started, process (\d+)", line["event"]) for line in fleet.log())
    return {int(found[1]): int(found[2]) for found in said if found}


def partitions_read(fleet: Worker) -> dict[str, int]:
    """Return how many partitions each worker said last that it reads, by its name in the log."""
    found = ((line.get("worker"), re.match(r"reading (\d+) partitions", line["event"])) for line in fleet.log())
    return {str(name): int(match[1]) for name, match in found if match}


def start(system: System, workers: int = 3, **environment: str) -> Worker:
    fleet = system.start_worker(KEEPSTREAM_WORKER__PROCESSES=str(workers), **environment)
    eventually(lambda: sorted(partitions_read(fleet).values()) == [2] * workers, 90, "partitions are shared")
    return fleet


def test_partitions_are_shared_a_killed_worker_is_restarted_and_sigterm_ends_all(
    new_system: Callable[..., System],
) -> None:
    system = new_system(partitions=6)
    fleet = start(system)
    system.produce(make_value() for _ in range(3000))
    victim = pids(fleet)[2]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: pids(fleet)[2] != victim, 30, "the killed worker is started again")
    system.produce(make_value() for _ in range(3000))
    system.settled(6000, 90)
    eventually(lambda: partitions_read(fleet)["2"] == 2 == partitions_read(fleet)["1"], 60, "it reads its share again")
    system.assert_consistent()
    family = descendants(fleet.process.pid)
    assert len(family) == 3
    assert fleet.process.stop(timeout_s=25) == 0
    assert not any(map(runs, family))
    assert [line["event"] for line in fleet.log()].count("stopped") == 3


def test_settings_that_a_worker_refuses_end_all_with_two(new_system: Callable[..., System]) -> None:
    system = new_system(partitions=1)
    fleet = system.start_worker(KEEPSTREAM_WORKER__PROCESSES="3", KEEPSTREAM_HTTP__PORT="65534")  # the third has 65536
    eventually(lambda: fleet.process.exit_code is not None, 60, "it gives up")
    assert fleet.process.exit_code == 2
    assert len(pids(fleet)) == 3
    assert not any(map(runs, pids(fleet).values()))


def test_workers_drain_when_their_parent_is_killed(new_system: Callable[..., System]) -> None:
    system = new_system(partitions=6)
    fleet = start(system)
    family = [*pids(fleet).values()]
    os.kill(fleet.process.pid, signal.SIGKILL)
    eventually(lambda: not any(map(runs, family)), 25, "they are gone")
    assert [line["event"] for line in fleet.log()].count("stopped") == 3
