"""Restarts, their delays, and the drain of all workers, with fake child processes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from keepstream.app.config.settings import Settings
from keepstream.app.errors import USAGE
from keepstream.app.process import supervisor as fleet
from keepstream.app.process.supervisor import (
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    STABLE_AFTER_S,
    WorkerSlot,
    WorkerSupervisor,
    environments,
)
from keepstream.app.worker.run import STOP_GRACE_S


class FakeChild:
    """Runs until it gets an exit code; exits with 0 at SIGTERM unless it ignores signals."""

    pid = 4711

    def __init__(self, *, deaf: bool = False, drains_with: int = 0) -> None:
        self.code: int | None = None
        self._deaf, self._drains_with = deaf, drains_with

    def poll(self) -> int | None:
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        if self.code is None:
            raise subprocess.TimeoutExpired("worker", timeout or 0)
        return self.code

    def send_signal(self, sig: int) -> None:
        if not self._deaf:
            self.code = self._drains_with

    def kill(self) -> None:
        self.code = -signal.SIGKILL


class Nursery:
    """Starts fake children and remembers them."""

    def __init__(self, **options: Any) -> None:
        self.children: list[FakeChild] = []
        self._options = options

    def __call__(self, _environment: Mapping[str, str]) -> Any:
        self.children.append(FakeChild(**self._options))
        return self.children[-1]


def settings(**worker: Any) -> Settings:
    return Settings(_env_file=None, worker=worker)


def slot_with(nursery: Nursery) -> WorkerSlot:
    return WorkerSlot(1, {}, nursery)


def test_the_restart_delay_doubles_up_to_its_limit() -> None:
    nursery = Nursery()
    slot, now, waits = slot_with(nursery), 0.0, []
    for _ in range(9):
        slot.check(now)
        nursery.children[-1].code = 70
        slot.check(now)
        died, count = now, len(nursery.children)
        while len(nursery.children) == count:
            now += 0.25
            slot.check(now)
        waits.append(now - died)
        nursery.children[-1].code = 70
        slot.check(now)
        now += 60
    assert waits[0] == FIRST_WAIT_S
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT_S


def test_after_a_stable_run_the_restart_delay_is_reset() -> None:
    nursery = Nursery()
    slot = slot_with(nursery)
    slot.check(0)
    nursery.children[-1].code = 70
    slot.check(0)
    slot.check(FIRST_WAIT_S)
    nursery.children[-1].code = 70
    slot.check(FIRST_WAIT_S + STABLE_AFTER_S)
    slot.check(2 * FIRST_WAIT_S + STABLE_AFTER_S)
    assert len(nursery.children) == 3


def test_a_worker_that_rejects_its_settings_is_not_restarted_and_ends_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nursery = Nursery()
    whole = WorkerSupervisor(settings(processes=3), nursery)
    monkeypatch.setattr(
        "keepstream.app.process.supervisor.time.sleep", lambda _s: setattr(nursery.children[1], "code", USAGE)
    )
    assert whole.run() == USAGE
    assert len(nursery.children) == 3
    assert [child.code for child in nursery.children] == [0, USAGE, 0]


@pytest.mark.parametrize(("codes", "worst"), [([0, 0], 0), ([0, 70], 70), ([-9, 70], 137), ([-signal.SIGTERM, 0], 0)])
def test_the_highest_exit_code_is_returned(codes: list[int], worst: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter(codes)
    start: Any = lambda _environment: FakeChild(drains_with=next(left))  # noqa: E731
    whole = WorkerSupervisor(settings(processes=2), start)
    monkeypatch.setattr("keepstream.app.process.supervisor.time.sleep", lambda _s: whole.ask_to_stop())
    assert whole.run() == worst


def test_a_worker_that_does_not_drain_in_time_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    nursery = Nursery(deaf=True)
    whole = WorkerSupervisor(settings(processes=2), nursery)
    monkeypatch.setattr("keepstream.app.process.supervisor.time.sleep", lambda _s: whole.ask_to_stop())
    assert whole.run() == 128 + signal.SIGKILL


def test_each_worker_has_its_own_name_port_and_membership() -> None:
    given = Settings(_env_file=None, worker={"processes": 3}, http={"port": 9200}, kafka={"group_instance_id": "a"})
    own = environments(given)
    assert [slot["KEEPSTREAM_HTTP__PORT"] for slot in own] == ["9200", "9201", "9202"]
    assert [slot["KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID"] for slot in own] == ["a-1", "a-2", "a-3"]
    assert {slot["KEEPSTREAM_WORKER__PROCESSES"] for slot in own} == {"1"}
    free = environments(Settings(_env_file=None, worker={"processes": 2}, http={"port": 0}))
    assert {slot["KEEPSTREAM_HTTP__PORT"] for slot in free} == {"0"}
    assert "KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID" not in free[0]


def test_the_stop_timeout_exceeds_the_workers_own_deadline() -> None:
    assert fleet.STOP_MARGIN_S > STOP_GRACE_S
