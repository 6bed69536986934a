"""The wall clock jumps, under the worker or under PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keepstream.app.embedded.postgres import EmbeddedPostgres
from tests.acceptance.conftest import System
from tests.faults.preload import Lever, lever
from tests.faults.produced_ledger import LedgerProducer, close, warmed_up
from tests.faults.report import Row

pytestmark = [pytest.mark.real, pytest.mark.long]

DAY_S = 86_400


def jump(clock: Lever, row: Row, system: System, producer: LedgerProducer) -> None:
    """A day ahead, a day back from where it was, and home again; each time, events come through."""
    for days in (1, -1, 0):
        expected = system.database.totals()["total"] + 500
        with row.active():
            clock.set(days * DAY_S)
        producer.send(500)
        row.recovers(lambda: system.database.totals()["total"] == expected, 30)  # noqa: B023


def test_a_wall_clock_that_jumps_a_day_decides_nothing(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    jumps = row("the worker's wall clock jumps a day, forth and back")
    system = new_system(partitions=2)
    producer = new_producer(system)
    with lever("clock_shift") as clock:
        worker = system.start_worker(**clock.environment)
        producer.send(200)
        system.settled(200)
        jump(clock, jumps, system, producer)
        days_seen = {str(line["timestamp"])[:10] for line in worker.log()}
        assert len(days_seen) == 3, f"the clock did not jump: {days_seen}"
        close(jumps, system, producer, worker)


def test_a_wall_clock_of_postgres_that_jumps_a_day_decides_nothing(
    system_on: Callable[[EmbeddedPostgres], System], new_producer: Callable[..., LedgerProducer],
    row: Callable[[str], Row], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    jumps = row("PostgreSQL's wall clock jumps a day, forth and back")
    with lever("clock_shift") as clock:
        for name, value in clock.environment.items():
            monkeypatch.setenv(name, value)
        system = system_on(EmbeddedPostgres())
        monkeypatch.undo()
        producer = new_producer(system)
        worker = warmed_up(system, producer)
        jump(clock, jumps, system, producer)
        days_seen = system.database.value("SELECT count(DISTINCT updated_at::date) FROM events")
        assert days_seen == 3, "the clock did not jump"
        close(jumps, system, producer, worker)
