"""A broker's log is damaged, or its topic deleted, under a running worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keepstream.app.embedded import EmbeddedUnavailableError
from keepstream.app.embedded.kafka import EmbeddedKafka
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.contract.faust_program import stays
from tests.faults import admin
from tests.faults.proxied_servers import Rig
from tests.faults.report import Row
from tests.real import Kafka, Postgres, eventually

pytestmark = pytest.mark.real


def test_a_corrupt_batch_pauses_its_partition_only(
    rig: Rig, new_system: Callable[..., System], row: Callable[[str], Row]
) -> None:
    corrupt = row("one byte of a stored batch flipped")
    system = new_system(partitions=2)
    system.produce((make_value() for _ in range(5)), partition=0)
    system.produce((make_value() for _ in range(5)), partition=0)
    with corrupt.active():
        flip_last_byte(rig.kafka.home() / "log" / f"{system.topic}-0" / f"{0:020}.log")
    system.produce((make_value() for _ in range(5)), partition=1)
    worker = system.start_worker()
    system.settled(10)
    eventually(lambda: "corrupt" in worker.get("/readyz")[1], 30, "/readyz has the reason")
    system.produce((make_value() for _ in range(5)), partition=1)
    corrupt.recovers(lambda: system.database.totals()["total"] == 15, 30)
    assert worker.process.exit_code is None
    assert worker.get("/livez")[0] == 200
    assert [line["reason"] for line in worker.log() if line["event"] == "partition paused"] == ["unreadable_batch"]


def flip_last_byte(log: Path) -> None:
    with log.open("r+b") as file:
        file.seek(-1, 2)
        (byte,) = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([byte ^ 1]))


@pytest.fixture
def creating_kafka() -> Iterator[EmbeddedKafka]:
    """A broker as Kafka ships it: a topic that is asked for is created."""
    try:
        server = EmbeddedKafka(overrides={"auto.create.topics.enable": "true"})
        server.start()
    except EmbeddedUnavailableError as missing:
        pytest.skip(str(missing))
    yield server
    server.stop()


@pytest.mark.long
def test_a_worker_does_not_bring_a_deleted_topic_back(
    creating_kafka: EmbeddedKafka, rig: Rig, tmp_path: Path, row: Callable[[str], Row]
) -> None:
    deleted = row("topic deleted under the worker, auto.create.topics.enable on")
    with Postgres(rig.postgres.url).new_schema() as database:
        system = System(Kafka(creating_kafka.bootstrap_servers), database, tmp_path, partitions=3)
        try:
            worker = system.start_worker()
            system.produce(make_value() for _ in range(10))
            system.settled(10)
            with deleted.active():
                admin.delete_topic(system.kafka, system.topic)
            client = admin.admin(system.kafka)
            stays(lambda: system.topic not in client.list_topics(timeout=10).topics, 15, "the topic is back")
            system.kafka.create_topic(system.topic, 3)
            system.produce(make_value() for _ in range(10))
            deleted.recovers(lambda: system.database.totals()["total"] == 20, 90)
            assert worker.process.exit_code is None
        finally:
            system.stop()
