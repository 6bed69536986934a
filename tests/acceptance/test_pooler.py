"""Workers and commands through PgBouncer: kills of everything, a replay, and an exact audit."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from keepstream.app.embedded.postgres import EmbeddedPostgres
from tests.acceptance.conftest import System
from tests.faults.produced_ledger import LedgerProducer, reckon, wait_s
from tests.pgbouncer import MODES, PgBouncer, pgbouncer
from tests.real import Kafka, Postgres, eventually

pytestmark = [pytest.mark.real, pytest.mark.long]

STRIKES = 12
VICTIMS = {"worker 0": 2, "worker 1": 2, "pooler": 1, "server": 1}
"""What is killed, once each and then by these odds."""
BROKEN_EVERY = 20
NEIGHBOUR = "SELECT set_config('search_path', 'pg_catalog', false), set_config('enable_seqscan', 'on', false)"


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres() as started:
        yield started


@pytest.fixture(params=MODES)
def pooler(server: EmbeddedPostgres, request: pytest.FixtureRequest) -> Iterator[PgBouncer]:
    with pgbouncer(server.url, request.param, default_pool_size="30") as started:
        yield started


@pytest.fixture
def system(kafka: Kafka, server: EmbeddedPostgres, pooler: PgBouncer, tmp_path: Path) -> Iterator[System]:
    """A system whose workers and commands know nothing but the pooler; the tests look past it."""
    with ExitStack() as stack:
        database = stack.enter_context(Postgres(server.url).new_schema())
        system = System(kafka, database, tmp_path, 4, {"KEEPSTREAM_POSTGRES__URL": pooler.url})
        stack.callback(system.stop)
        yield system


@pytest.mark.timeout(600)
def test_kills_and_a_replay_through_a_pooler_lose_and_double_nothing(
    system: System, server: EmbeddedPostgres, pooler: PgBouncer, tmp_path: Path
) -> None:
    workers = [system.start_worker() for _ in range(2)]
    ledger = tmp_path / "ledger"
    producer = LedgerProducer(system.kafka.bootstrap_servers, system.topic, ledger, BROKEN_EVERY)
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    producer.start(events_per_s=400)
    for strike in range(STRIKES):
        wait_s(dice.uniform(0.5, 3))
        spoil(pooler)
        victim = [*VICTIMS][strike] if strike < len(VICTIMS) else dice.choices([*VICTIMS], [*VICTIMS.values()])[0]
        if victim.startswith("worker"):
            number = int(victim[-1])
            workers[number].process.kill()
            workers[number] = system.start_worker()
        else:
            part = pooler if victim == "pooler" else server
            part.kill()
            part.start()
        before = system.settled_count()
        eventually(lambda before=before: system.settled_count() > before, 90, f"on after {victim}")  # type: ignore[misc]
    producer.stop()
    found = reckon(system, producer)
    producer.close()
    assert found.clean, found
    system.assert_consistent()
    assert all(worker.process.exit_code is None for worker in workers), [w.process.log_end() for w in workers]
    dead = system.database.totals()["failed"]
    replayed = json.loads(system.cli("dlq", "replay", "--yes", "--wait", "--json").stdout.splitlines()[-1])
    assert (replayed["replayed"], replayed["dead_again"], replayed["adds_up"]) == (dead, dead, True)
    for command in (("audit", "--deep"), ("status",), ("doctor",), ("events", "list"), ("dlq", "list", "--limit", "3")):
        system.cli(*command)
    system.assert_consistent()
    eventually(lambda: not sessions_that_hold_something(server), 10, "no lock and no transaction is left")


def spoil(pooler: PgBouncer) -> None:
    """Leave settings in a session of the server, as another client of the pooler does."""
    with psycopg.connect(pooler.url, autocommit=True, prepare_threshold=None) as neighbour:
        neighbour.execute(NEIGHBOUR)


def sessions_that_hold_something(server: EmbeddedPostgres) -> list[tuple[int]]:
    """Return the sessions that hold an advisory lock or an open transaction although nothing runs."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        return connection.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' UNION "
            "SELECT pid FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        ).fetchall()
