"""What the group believes of its members is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.conftest import System
from tests.faults.produced_ledger import LedgerProducer, close, settled
from tests.faults.report import Row
from tests.real import eventually

pytestmark = pytest.mark.real


@pytest.mark.long
def test_of_two_workers_with_one_name_one_ends_and_says_why(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    twice = row("one group_instance_id given to two workers")
    system = new_system(partitions=2, KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID="same")
    producer = new_producer(system)
    workers = [system.start_worker()]
    eventually(lambda: workers[0].metric("keepstream_assigned_partitions") == 2, 60)
    producer.start(events_per_s=200)
    workers.append(system.start_worker())
    twice.struck()
    eventually(lambda: any(worker.process.exit_code is not None for worker in workers), 60, "one of them ends")
    (loser,) = (worker for worker in workers if worker.process.exit_code is not None)
    (winner,) = (worker for worker in workers if worker is not loser)
    assert loser.process.exit_code == 70, loser.process.log_end()
    assert any("group_instance_id 'same'" in line["event"] for line in loser.log() if line["level"] == "critical")
    before = settled(system)
    twice.recovers(lambda: settled(system) > before + 200, 60)
    producer.stop()
    close(twice, system, producer, winner)
