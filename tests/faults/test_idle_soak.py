"""A long time in which nothing is settled and every idle limit runs out again and again: all resume by themselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from keepstream.app.embedded import EmbeddedUnavailableError
from keepstream.app.embedded.kafka import EmbeddedKafka
from keepstream.app.embedded.postgres import EmbeddedPostgres
from tests.acceptance.conftest import System, Worker
from tests.acceptance.test_group_membership import is_owner, members, unavailable
from tests.conftest import given_or_skip
from tests.contract.process_faults import sabotaged
from tests.faults.produced_ledger import LedgerProducer, close, wait_s
from tests.faults.proxied_servers import through
from tests.faults.proxy import Proxy
from tests.faults.report import Row
from tests.real import Kafka, Postgres, eventually

pytestmark = [pytest.mark.real, pytest.mark.long]

STATES = ("a standby", "a worker in an outage", "a worker that was started before the migration")
SOAK_MINUTES = float(os.environ.get("SOAK_MINUTES", "1"))
"""How long nothing is settled: half an hour with `make soak`."""
IDLE_S = 4
IDLE_CONNECTIONS_AND_OFFSETS = {
    "connections.max.idle.ms": str(IDLE_S * 1000),
    "offsets.retention.minutes": "1",
    "offsets.retention.check.interval.ms": "5000",
}
IDLE_SESSIONS = f"ALTER SYSTEM SET idle_session_timeout = '{IDLE_S}s'"
IDLE_CLIENTS = f"""
import aiokafka, psycopg_pool
limits = aiokafka.AIOKafkaConsumer.__init__.__kwdefaults__, psycopg_pool.AsyncConnectionPool.__init__.__kwdefaults__
limits[0]["connections_max_idle_ms"] = {IDLE_S * 1000}
limits[1].update(max_idle={IDLE_S}, max_lifetime={IDLE_S * 2})
"""
"""What the client libraries end by themselves: by default after nine minutes and more."""


@dataclass(frozen=True)
class IdleServers:
    """A broker and a database that end what is idle for a few seconds, and a link that a test can cut."""

    kafka: Kafka
    postgres: EmbeddedPostgres
    link: Proxy
    folder: Path
    stack: ExitStack

    def new_system(self, name: str, *, through_link: bool = False) -> System:
        url = self.postgres.url
        if through_link:
            url = through(url, self.postgres.port, self.link)
        folder = self.folder / name
        folder.mkdir()
        database = self.stack.enter_context(Postgres(self.postgres.url).new_schema())
        settings = {"KEEPSTREAM_POSTGRES__URL": url, "KEEPSTREAM_WORKER__BUFFER_BYTES": "262144"}
        system = System(self.kafka, database, folder, 1, settings)
        self.stack.callback(system.stop)
        return system


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[IdleServers]:
    with ExitStack() as stack:
        kafka, postgres = EmbeddedKafka(overrides=IDLE_CONNECTIONS_AND_OFFSETS), EmbeddedPostgres()
        for server in (kafka, postgres):
            stack.callback(server.stop)
            try:
                server.start()
            except EmbeddedUnavailableError as missing:
                given_or_skip(str(missing))
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(IDLE_SESSIONS)
            connection.execute("SELECT pg_reload_conf()")
        link = stack.enter_context(Proxy(postgres.port))
        yield IdleServers(Kafka(kafka.bootstrap_servers), postgres, link, tmp_path, stack)


@contextmanager
def outage(link: Proxy) -> Iterator[None]:
    link.black_hole()
    try:
        yield
    finally:
        link.heal()


@pytest.mark.timeout(SOAK_MINUTES * 60 + 300)
def test_a_standby_an_outage_and_an_early_start_outlast_every_idle_limit(
    servers: IdleServers, new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    standing_by, cut_off, early = (row(f"{SOAK_MINUTES:g} minutes idle: {what}") for what in STATES)
    pair, far, new = (servers.new_system(name, through_link=name == "far") for name in ("pair", "far", "new"))
    producers = {system.topic: new_producer(system) for system in (pair, far, new)}
    workers = [sabotaged(pair, IDLE_CLIENTS) for _ in range(2)]
    paused = sabotaged(far, IDLE_CLIENTS)
    producers[far.topic].send(100)
    far.settled(100)
    with unavailable(new, "stream_offsets"), outage(servers.link):
        started_early = sabotaged(new, IDLE_CLIENTS)
        producers[far.topic].send(3000)
        eventually(lambda: paused.metric("keepstream_paused_partitions") == 1, 60, "the partition is paused")
        eventually(lambda: [members(system) for system in (pair, far, new)] == [2, 1, 1], 60, "all have joined")
        soak(pair, far, new)
    for idle in (standing_by, cut_off, early):
        idle.struck()
    cut_off.recovers(lambda: far.settled_count() == 3100, 60)
    close(cut_off, far, producers[far.topic], paused)
    producers[new.topic].send(100)
    early.recovers(lambda: new.settled_count() == 100, 60)
    close(early, new, producers[new.topic], started_early)
    standby = take_over(workers)
    producers[pair.topic].send(100)
    standing_by.recovers(lambda: pair.settled_count() == 100, 60)
    close(standing_by, pair, producers[pair.topic], standby)


def soak(pair: System, far: System, new: System) -> None:
    """Wait, and see that nobody leaves, and that idle sessions were replaced: so their limit did run out."""
    begin = pair.database.value("SELECT now()")
    for _ in range(max(1, int(SOAK_MINUTES * 2))):
        wait_s(min(30, SOAK_MINUTES * 60))
        assert [members(system) for system in (pair, far, new)] == [2, 1, 1], "a member has left its group"
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'keepstream worker' AND backend_start > %s"
    assert pair.database.rows(query, begin)[0][0] > 0, "no idle limit ran out"


def take_over(workers: list[Worker]) -> Worker:
    """Kill the worker that owns the partition; return the other."""
    owner, standby = sorted(workers, key=lambda worker: not is_owner(worker))
    assert (is_owner(owner), is_owner(standby)) == (True, False)
    owner.process.kill()
    return standby
