"""The network between the worker and PostgreSQL falls ill."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.conftest import System
from tests.faults.produced_ledger import LedgerProducer, close, dead_letter_repeats, reckon, settled, wait_s, warmed_up
from tests.faults.proxied_servers import Rig
from tests.faults.report import Row
from tests.real import eventually

pytestmark = pytest.mark.real

QUICK = {
    "KEEPSTREAM_POSTGRES__STATEMENT_TIMEOUT_S": "2",
    "KEEPSTREAM_POSTGRES__LOCK_TIMEOUT_S": "1",
    "KEEPSTREAM_POSTGRES__CONNECT_TIMEOUT_S": "2",
}


def test_a_postgres_that_hangs_without_a_word_is_given_up_and_found_again(
    rig: Rig, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    hole = row("PostgreSQL black hole: connections stay, nothing answers")
    system = new_system(partitions=2, **QUICK)
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    with hole.active():
        rig.postgres_link.black_hole()
        producer.send(1000)
        eventually(lambda: worker.get("/readyz")[0] == 503, 30, "readiness turns false")
        assert worker.get("/livez")[0] == 200
        wait_s(3)
        rig.postgres_link.heal()
    hole.recovers(lambda: settled(system) > 200, 30)
    close(hole, system, producer, worker)


@pytest.mark.long
def test_half_open_connections_to_postgres_are_given_up_while_new_ones_work(
    rig: Rig, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    half = row("PostgreSQL half-open: a firewall forgot the connections")
    system = new_system(partitions=2, **QUICK)
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    with half.active():
        rig.postgres_link.half_open()
    producer.send(1000)
    half.recovers(lambda: settled(system) > 200, 30)
    close(half, system, producer, worker)


@pytest.mark.long
def test_cut_connections_to_postgres_are_replaced(
    rig: Rig, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    cut = row("PostgreSQL connections reset, again and again")
    system = new_system(partitions=4)
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    producer.start(events_per_s=1000)
    for _ in range(10):
        wait_s(0.2)
        before = settled(system)
        rig.postgres_link.reset()
        cut.struck()
        cut.recovers(lambda: settled(system) > before, 30)  # noqa: B023
    producer.stop()
    close(cut, system, producer, worker)


MANY = 1_000_000


@pytest.mark.parametrize(
    "broken_every",
    [pytest.param(50, id="with dead letters"), pytest.param(10**9, id="without", marks=pytest.mark.long)],
)
def test_a_commit_whose_answer_is_lost_is_counted_once(
    rig: Rig, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row],
    broken_every: int,
) -> None:  # fmt: skip
    what = "a batch" if broken_every > MANY else "a batch with dead letters"
    doubt = row(f"in-doubt commit: the answer to the statement that commits {what} is cut off")
    system = new_system(partitions=1)
    producer = new_producer(system, broken_every=broken_every, prefix="marked-")
    worker = warmed_up(system, producer)
    for round_ in range(1, 6):
        rig.postgres_link.cut_after(b"marked-")
        before = settled(system)
        producer.send(100)
        eventually(lambda: rig.postgres_link.cuts >= round_, 30, "an answer is cut off")  # noqa: B023
        doubt.struck()
        doubt.recovers(lambda: settled(system) == before + 100, 30)  # noqa: B023
    found = reckon(system, producer)
    system.assert_consistent()
    totals = system.database.totals()
    assert totals["duplicate"] == 0, "a batch that had been committed was counted again as duplicates"
    assert worker.process.exit_code is None
    assert dead_letter_repeats(system) <= doubt.injected * 3
    doubt.closes(found)


def test_a_transaction_that_hangs_with_its_locks_lets_the_next_owner_go_on(
    rig: Rig, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    stuck = row("worker vanishes behind a dead link with its transactions open")
    system = new_system(partitions=2, **QUICK)
    producer = new_producer(system, broken_every=10)
    lost = warmed_up(system, producer)
    producer.send(20_000)
    with stuck.active():
        rig.postgres_link.black_hole()
        lost.process.kill()
    # The next owner reaches PostgreSQL another way; the server still believes in the transactions of the lost one.
    system.start_worker(KEEPSTREAM_POSTGRES__URL=rig.postgres.url)
    before = settled(system)
    stuck.recovers(lambda: settled(system) > before, 60)
    found = reckon(system, producer)
    system.assert_consistent()
    stuck.closes(found)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_slow_link_to_postgres_slows_down_and_breaks_nothing(
    rig: Rig, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    slow = row("PostgreSQL slow: 20 kB/s per connection")
    system = new_system(partitions=2)
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    with slow.active():
        rig.postgres_link.bytes_per_s = 20_000
        producer.send(3000)
        wait_s(15)
        assert worker.process.exit_code is None
        rig.postgres_link.heal()
    slow.recovers(lambda: settled(system) >= 3200, 60)
    close(slow, system, producer, worker)
