"""Workers are replaced one after another while events flow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.conftest import System, Worker
from tests.acceptance.traffic import Traffic
from tests.real import eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(300), pytest.mark.long]

WORKERS, PARTITIONS = 3, 6
SHARE = PARTITIONS // WORKERS
STALL_LIMIT_S = 5.0


def reads(worker: Worker, partitions: int) -> bool:
    return bool(logged := assignments_logged(worker)) and logged[-1] == f"reading {partitions} partitions"


def assignments_logged(worker: Worker) -> list[str]:
    return [line["event"] for line in worker.log() if line["event"].startswith("reading ")]


def assignments(worker: Worker) -> int:
    return len(assignments_logged(worker))


def start_three(system: System, *, static: bool) -> list[tuple[Worker, dict[str, str]]]:
    """Start workers; return each with its settings beyond the system's settings."""
    own = [{"KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID": f"{system.group_id}-{n}"} if static else {} for n in range(WORKERS)]
    seats = [(system.start_worker(**settings), settings) for settings in own]
    eventually(lambda: all(reads(worker, SHARE) for worker, _ in seats), 90, "partitions are shared")
    return seats


def stop(worker: Worker) -> None:
    assert worker.process.stop(timeout_s=20) == 0


def kill(worker: Worker) -> None:
    worker.process.kill()


def roll(system: System, seats: list[tuple[Worker, dict[str, str]]], end: Callable[[Worker], None] = stop) -> Traffic:
    """Replace one worker after another under load, and check that every event was settled once."""
    traffic = Traffic(system, per_second=600)
    with traffic.flowing():
        eventually(lambda: system.database.totals()["total"] > 1000, 60, "events flow")
        for worker, settings in seats:
            end(worker)
            successor = system.start_worker(**settings)
            eventually(lambda new=successor: reads(new, SHARE), 60, "it reads its share")  # type: ignore[misc]
            settled = system.database.totals()["total"]
            eventually(lambda n=settled: system.database.totals()["total"] > n + 600, 60, "events flow again")  # type: ignore[misc]
    system.settled(traffic.produced, 60)
    system.assert_consistent()
    assert system.database.totals()["duplicate"] == 0
    assert len(traffic.stall_s) == PARTITIONS
    print("longest stall per partition, s:", {p: round(stall, 2) for p, stall in traffic.stall_s.items()})
    return traffic


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
def test_a_rolling_restart_under_load_loses_and_doubles_nothing_and_stalls_for_seconds(
    new_system: Callable[..., System], *, static: bool
) -> None:
    system = new_system(partitions=PARTITIONS)
    traffic = roll(system, start_three(system, static=static))
    assert traffic.longest_s < STALL_LIMIT_S


@pytest.mark.parametrize("end", [stop, kill])
def test_with_static_membership_nobody_else_is_disturbed(
    new_system: Callable[..., System], end: Callable[[Worker], None]
) -> None:
    """A killed worker, or one that is not to leave, comes back to what it had."""
    system = new_system(
        partitions=PARTITIONS, KEEPSTREAM_KAFKA__SESSION_TIMEOUT_S="29", KEEPSTREAM_KAFKA__LEAVE_ON_STOP="false"
    )
    seats = start_three(system, static=True)
    before = sum(map(assignments, system.workers))
    roll(system, seats, end)
    assert sum(map(assignments, system.workers)) == before + WORKERS
