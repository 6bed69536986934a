"""PostgreSQL restarts again and again while records arrive one at a time, in batches of one."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable

import pytest

from keepstream.app.embedded.postgres import EmbeddedPostgres
from tests.acceptance.conftest import System
from tests.faults.produced_ledger import LedgerProducer, close, settled, wait_s, warmed_up
from tests.faults.proxied_servers import Rig
from tests.faults.report import Row
from tests.real import eventually

pytestmark = pytest.mark.real

WARM_UP = 20
IN_FLIGHT_S = 0.06
"""From the producer to the commit it takes about this long: half of the restarts meet the event on its way."""


@pytest.mark.parametrize(
    "restarts", [3, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(3600)])], ids=["short", "long"]
)
def test_restarts_of_postgres_kill_no_record_of_a_batch_of_one(
    rig: Rig, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row],
    restarts: int,
) -> None:  # fmt: skip
    restarted = row(f"{restarts} restarts of PostgreSQL, an event during each, batches of one")
    settings = {"KEEPSTREAM_WORKER__BATCH_SIZE": "1", "KEEPSTREAM_POSTGRES__URL": rig.postgres.url}
    system = new_system(partitions=4, **settings)
    producer = new_producer(system, broken_every=10**9)
    worker = warmed_up(system, producer, WARM_UP)
    dice = random.Random(restarts)
    for number in range(restarts):
        producer.send(1, wait=False)
        wait_s(dice.uniform(0, IN_FLIGHT_S))
        (stop_immediately if number % 2 else EmbeddedPostgres.kill)(rig.postgres)
        rig.postgres.start()
        restarted.struck()
        done = WARM_UP + number + 1
        restarted.recovers(lambda done=done: settled(system) == done, 60)  # type: ignore[misc]
    producer.flush()
    close(restarted, system, producer, worker)
    assert system.database.totals()["delivered"] == WARM_UP + restarts
    assert system.dead() == {}


def stop_immediately(server: EmbeddedPostgres) -> None:
    """End PostgreSQL without a checkpoint, as ``pg_ctl stop -m immediate`` does."""
    assert server.pid
    os.kill(server.pid, signal.SIGQUIT)
    eventually(lambda: server.pid is None, 30, "PostgreSQL has ended")
