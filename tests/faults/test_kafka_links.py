"""The network between the worker and Kafka falls ill."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.conftest import System
from tests.faults.produced_ledger import LedgerProducer, close, reckon, settled, wait_s, warmed_up
from tests.faults.proxied_servers import Rig
from tests.faults.report import Row
from tests.real import eventually

pytestmark = pytest.mark.real

QUICK = {"KEEPSTREAM_KAFKA__REQUEST_TIMEOUT_S": "8", "KEEPSTREAM_KAFKA__DLQ_TIMEOUT_S": "3"}


@pytest.mark.long
def test_a_kafka_that_hangs_without_a_word_is_found_again(
    rig: Rig, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    hole = row("Kafka black hole: connections stay, nothing answers")
    system = new_system(partitions=2, **QUICK)
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    with hole.active():
        rig.kafka_link.black_hole()
        producer.send(1000)
        wait_s(15)  # past the session and the request timeout
        assert worker.process.exit_code is None
        rig.kafka_link.heal()
    hole.recovers(lambda: settled(system) > 200, 60)
    close(hole, system, producer, worker)


@pytest.mark.long
def test_half_open_connections_to_kafka_are_given_up(
    rig: Rig, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    half = row("Kafka half-open: a firewall forgot the connections")
    system = new_system(partitions=2, **QUICK)
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    with half.active():
        rig.kafka_link.half_open()
    producer.send(1000)
    half.recovers(lambda: settled(system) > 200, 60)
    close(half, system, producer, worker)


@pytest.mark.long
def test_cut_connections_to_kafka_are_replaced(
    rig: Rig, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    cut = row("Kafka connections reset, again and again")
    system = new_system(partitions=4)
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    producer.start(events_per_s=500)
    for _ in range(8):
        wait_s(0.3)
        before = settled(system)
        rig.kafka_link.reset()
        cut.struck()
        cut.recovers(lambda: settled(system) > before, 30)  # noqa: B023
    producer.stop()
    close(cut, system, producer, worker)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_slow_link_to_kafka_slows_down_and_breaks_nothing(
    rig: Rig, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    slow = row("Kafka slow: 20 kB/s per connection")
    system = new_system(partitions=2)
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    with slow.active():
        rig.kafka_link.bytes_per_s = 20_000
        producer.send(5000)
        wait_s(30)
        assert worker.process.exit_code is None
        assert settled(system) > 200, "nothing gets through"
        rig.kafka_link.heal()
    slow.recovers(lambda: settled(system) >= 5200, 90)
    found = reckon(system, producer)
    system.assert_consistent()
    slow.closes(found)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("server", ["Kafka", "PostgreSQL"])
def test_a_long_outage_ends_in_recovery_without_help(
    rig: Rig, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row],
    server: str, outage_s: float,
) -> None:  # fmt: skip
    away = row(f"{server} away for {outage_s:g} s")
    system = new_system(partitions=4)
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    service = rig.kafka if server == "Kafka" else rig.postgres
    with away.active():
        service.stop(keep_data=True)
        producer.send(1000, wait=False)
        wait_s(outage_s)
        assert worker.process.exit_code is None
        assert worker.get("/livez")[0] == 200
        service.start()
    away.recovers(lambda: settled(system) > 200, 60)
    producer.flush()
    found = reckon(system, producer)
    system.assert_consistent()
    eventually(lambda: worker.get("/readyz")[0] == 200, 30, "readiness turns true")
    assert worker.process.exit_code is None
    away.closes(found)
