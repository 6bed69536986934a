"""The worker as a process, on a healthy day."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable

import pytest

from keepstream.app.demo.traffic import BROKEN
from keepstream.schemas.record import header, record_id
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.real import Servers, eventually

pytestmark = pytest.mark.real

# What each kind of broken event must be told, so that its producer can mend it.
REASONS = {
    "not JSON": ("invalid_json", "not JSON"),
    "cut off": ("invalid_json", "not JSON"),
    "empty value": ("empty_value", "empty"),
    "tombstone": ("tombstone", "no value"),
    "a JSON array": ("not_an_object", "not an object"),
    "no event_id": ("missing_field", "event_id"),
    "empty event_id": ("invalid_field", "event_id"),
    "no payload": ("missing_field", "payload"),
    "payload is text": ("invalid_field", "payload"),
    "time without zone": ("invalid_timestamp", "timestamp"),
    "30 February": ("invalid_timestamp", "timestamp"),
    "NUL character": ("nul_character", r"\u0000"),
    "NaN": ("not_finite_number", "NaN"),
    "half a surrogate pair": ("lone_surrogate", "surrogate"),
    "not UTF-8": ("invalid_utf8", "UTF-8"),
    "number out of range": ("number_out_of_range", "number"),
    "nested too deep": ("too_deep", "deep"),
}
EVENT = {"event_id": "odd", "payload": {"a": 1}, "timestamp": "2026-11-24T10:00:00Z", "metadata": None}


def test_events_of_eight_partitions_are_delivered_counted_and_committed(new_system: Callable[..., System]) -> None:
    system = new_system(partitions=8)
    system.produce(make_value(event_id=f"e-{i}") for i in range(3000))
    worker = system.start_worker()
    system.settled(3000)
    system.assert_consistent()
    assert system.database.totals()["delivered"] == 3000
    eventually(lambda: system.committed_lag() == 0, 10, "Kafka knows what is settled")
    received = worker.metric(f'keepstream_events_received_total{{topic="{system.topic}"}}')
    outcomes = ("delivered", "duplicate", "stale", "ignored", "dead_lettered")
    series = [f'keepstream_events_processed_total{{outcome="{o}",topic="{system.topic}"}}' for o in outcomes]
    assert received == sum(map(worker.metric, series)) == 3000
    assert worker.get("/livez") == (200, "alive\n")
    assert worker.get("/readyz") == (200, "ready\n")
    assert worker.process.stop() == 0


def test_a_restarted_worker_goes_on_where_it_stood(system: System) -> None:
    system.produce(make_value() for _ in range(500))
    system.start_worker()
    system.settled(500)
    assert system.workers[0].process.stop() == 0
    system.produce(make_value() for _ in range(500))
    system.start_worker()
    system.settled(1000)
    system.assert_consistent()
    assert system.database.totals()["duplicate"] == 0


@pytest.mark.parametrize("kind", BROKEN)
def test_reasons_are_known_for_every_kind_of_broken_event(kind: str) -> None:
    assert kind in REASONS


def test_every_broken_event_is_found_untouched_with_a_reason_and_its_neighbours_are_stored(system: System) -> None:
    broken = {kind: make(dict(EVENT)) for kind, make in BROKEN.items()}
    for kind, value in broken.items():
        system.produce([make_value(), value, make_value()], key=kind.encode())
    system.start_worker()
    system.settled(3 * len(broken))
    system.assert_consistent()
    assert system.database.totals()["delivered"] == 2 * len(broken)
    letters = {(letter.key or b"").decode(): letter for letter in system.dead().values()}
    assert letters.keys() == broken.keys()
    for kind, (reason, named) in REASONS.items():
        letter = letters[kind]
        assert letter.value == broken[kind], kind
        assert header(letter, "keepstream.dlq.step") == "validate", kind
        assert header(letter, "keepstream.dlq.verdict") == "record", kind
        assert header(letter, "keepstream.dlq.reason") == reason, kind
        assert named in (header(letter, "__connect.errors.exception.message") or ""), kind
        assert header(letter, "__connect.errors.topic") == system.topic, kind
    known = system.database.rows("SELECT concat_ws('-', topic, partition, \"offset\"), place FROM dead_letters")
    assert dict(known) == {name: record_id(letter) for name, letter in system.dead().items()}


def test_a_row_that_postgres_refuses_stands_alone(system: System) -> None:
    system.database.execute("ALTER TABLE events ADD CONSTRAINT affordable CHECK ((payload ->> 'amount')::int < 100)")
    system.produce(make_value(event_id=f"e-{i}", payload={"amount": 1000 if i in (7, 42) else 1}) for i in range(100))
    system.start_worker()
    system.settled(100)
    system.assert_consistent()
    letters = system.dead().values()
    assert {header(letter, "keepstream.dlq.event-id") for letter in letters} == {"e-7", "e-42"}
    for letter in letters:
        assert header(letter, "keepstream.dlq.step") == "store"
        assert header(letter, "keepstream.dlq.sqlstate") == "23514"
        assert 'constraint "affordable"' in (header(letter, "__connect.errors.exception.message") or "")


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_compression_codec_is_read(system: System, codec: str) -> None:
    system.produce((make_value() for _ in range(300)), settings={"compression.type": codec})
    system.start_worker()
    system.settled(300)
    assert system.database.totals()["delivered"] == 300


def test_only_committed_transactions_are_read_and_the_lag_ends_at_zero(system: System) -> None:
    batches = [[make_value(event_id=f"{number}-{i}") for i in range(50)] for number in range(6)]
    system.kafka.produce_in_transactions(system.topic, batches)
    system.start_worker()
    system.settled(150)
    system.assert_consistent()
    assert system.database.value("SELECT count(*) FROM events WHERE left(event_id, 1) IN ('1', '3', '5')") == 0
    eventually(lambda: system.committed_lag() == 0, 15, "the commit passes aborted records and markers")


def test_records_of_kafkas_own_console_producer_are_read(system: System, servers: Servers) -> None:
    if servers.kafka is None:
        pytest.skip("the broker was given by URL; its jars are not here")
    argv = servers.kafka.tool_argv(
        "org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", servers.bootstrap_servers,
        "--topic", system.topic,
    )  # fmt: skip
    lines = b"\n".join([*(make_value() for _ in range(20)), b"hello"]) + b"\n"
    subprocess.run(argv, input=lines, check=True, timeout=60, capture_output=True)
    system.start_worker()
    system.settled(21)
    totals = system.database.totals()
    assert (totals["delivered"], totals["failed"]) == (20, 1)


def test_sigterm_under_load_loses_and_doubles_nothing(new_system: Callable[..., System]) -> None:
    system = new_system(partitions=4)
    system.produce(make_value() for _ in range(20_000))
    worker = system.start_worker()
    eventually(lambda: system.database.totals()["total"] > 2000, 60)
    assert worker.process.stop(timeout_s=15) == 0
    assert system.database.totals()["total"] < 20_000
    system.start_worker()
    system.settled(20_000, 120)
    system.assert_consistent()
    assert system.database.totals()["duplicate"] == 0


def test_a_fatal_error_exits_70_with_one_clear_line(system: System) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        worker = system.start_worker(KEEPSTREAM_HTTP__PORT=str(taken.getsockname()[1]))
        eventually(lambda: worker.process.exit_code is not None, 20)
    assert worker.process.exit_code == 70
    fatal = [line for line in worker.log() if line["level"] == "critical"]
    assert len(fatal) == 1
    assert "Address already in use" in fatal[0]["event"]


def test_sigint_ends_a_worker_like_sigterm(system: System) -> None:
    worker = system.start_worker()
    eventually(lambda: worker.get("/readyz")[0] == 200, 30)
    system.workers.clear()
    import os

    os.kill(worker.process.pid, signal.SIGINT)
    eventually(lambda: worker.process.exit_code is not None, 20)
    assert worker.process.exit_code == 0
