"""Replaying dead letters with the real command, a real worker and kills."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer

from keepstream.schemas.record import header
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.real import eventually

pytestmark = pytest.mark.real

FORBID = "ALTER TABLE events ADD CONSTRAINT affordable CHECK ((payload ->> 'amount')::int < 100)"
ALLOW = "ALTER TABLE events DROP CONSTRAINT affordable"


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the JSON object that a command printed last."""
    parsed: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return parsed


def fail_events(system: System, count: int, amount: int = 1000) -> None:
    """Make a constraint refuse so many events, which pass once it is dropped."""
    system.database.execute(FORBID)
    before = system.database.totals()["total"]
    system.produce(make_value(payload={"amount": amount}) for _ in range(count))
    system.start_worker(KEEPSTREAM_WORKER__STORE_RETRY__MAX_RETRIES="0")
    system.settled(before + count, 120)
    assert system.database.totals()["failed"] == count


def test_a_thousand_dead_letters_are_replayed_and_delivered_once_the_cause_is_gone(
    new_system: Callable[..., System],
) -> None:
    system = new_system(partitions=4)
    fail_events(system, 1000)
    system.database.execute(ALLOW)
    survey = answer(system.cli("dlq", "replay", "--dry-run", "--json"))
    assert (survey["selected"], survey["would_pass"]) == (1000, 1000)
    assert system.database.totals()["total"] == 1000
    done = answer(system.cli("dlq", "replay", "--yes", "--wait", "--json"))
    assert done["adds_up"]
    assert (done["selected"], done["replayed"], done["skipped"], done["failed"]) == (1000, 1000, 0, 0)
    assert (done["delivered"], done["dead_again"]) == (1000, 0)
    system.settled(2000)
    system.assert_consistent()
    totals = system.database.totals()
    assert (totals["delivered"], totals["failed"], totals["duplicate"]) == (1000, 1000, 0)
    assert system.cli("dlq", "list", "--json").stdout == ""


def test_what_is_still_broken_comes_back_with_its_count_and_ends_in_the_parking_lot(system: System) -> None:
    system.cli("topics", "ensure")
    fail_events(system, 3)
    for count in (1, 2):
        done = answer(system.cli("dlq", "replay", "--yes", "--max-replays", "2", "--wait", "--json"))
        assert (done["replayed"], done["dead_again"], done["delivered"]) == (3, 3, 0)
        newest = [letter for letter in system.dead().values() if header(letter, "keepstream.dlq.replay-count")]
        assert sum(header(one, "keepstream.dlq.replay-count") == str(count) for one in newest) == 3
        assert all(header(one, "__connect.errors.offset") in ("0", "1", "2") for one in newest)
    done = answer(system.cli("dlq", "replay", "--yes", "--max-replays", "2", "--wait", "--json"))
    assert (done["selected"], done["skipped"], done["replayed"]) == (3, 3, 0)
    assert len(system.kafka.read(f"{system.dlq_topic}-parked")) == 3
    assert system.cli("dlq", "list", "--json").stdout == ""
    system.assert_consistent()


def test_replaying_a_dead_letter_twice_never_changes_a_newer_row(system: System) -> None:
    old = make_value(event_id="order", payload={"amount": 1000}, timestamp="2026-11-24T10:00:00Z")
    new = make_value(event_id="order", payload={"amount": 5}, timestamp="2026-11-24T11:00:00Z")
    system.database.execute(FORBID)
    system.start_worker()
    for count, value in enumerate((old, new), 1):  # one by one: inside a batch only the newest would travel
        system.produce([value])
        system.settled(count)
    system.database.execute(ALLOW)
    for _ in range(2):
        done = answer(system.cli("dlq", "replay", "--yes", "--include-resolved", "--wait", "--json"))
        assert (done["replayed"], done["delivered"]) == (1, 1)
    assert system.database.value("SELECT payload ->> 'amount' FROM events WHERE event_id = 'order'") == "5"
    assert system.database.totals()["stale"] == 2
    system.assert_consistent()


def test_an_old_letter_of_spring_never_changes_a_newer_row(system: System) -> None:
    """Spring publishes with the time of the failure, which is later than the row, and the record's is in a header."""
    system.start_worker()
    system.produce([json.dumps({"event_id": "order", "payload": {"amount": 5}}).encode()])
    system.settled(1)
    an_hour_ago = int((time.time() - 3600) * 1000)
    producer = Producer({"bootstrap.servers": system.kafka.bootstrap_servers})
    producer.produce(
        system.dlq_topic, json.dumps({"event_id": "order", "payload": {"amount": 1000}}).encode(), b"key",
        headers=[("kafka_dlt-original-topic", system.topic.encode()),
                 ("kafka_dlt-original-timestamp", struct.pack(">q", an_hour_ago))],
    )  # fmt: skip
    producer.flush()
    assert answer(system.cli("dlq", "replay", "--yes", "--wait", "--json"))["delivered"] == 1
    assert system.kafka.read(system.topic)[-1].timestamp == an_hour_ago
    assert system.database.value("SELECT payload ->> 'amount' FROM events WHERE event_id = 'order'") == "5"
    assert system.database.totals()["stale"] == 1
    system.assert_consistent()


def test_a_header_of_the_record_does_not_choose_the_topic_of_its_replay(system: System) -> None:
    elsewhere = system.kafka.new_topic(1, "payments")
    system.produce([b"{"], headers=[("__connect.errors.topic", elsewhere.encode())])
    system.start_worker()
    system.settled(1)
    assert f"  {system.topic}  " in system.cli("dlq", "list").stdout
    dry_run = system.cli("dlq", "replay", "--dry-run")
    assert f"1  to {system.topic}\n" in dry_run.stdout
    assert answer(system.cli("dlq", "replay", "--yes", "--json"))["replayed"] == 1
    assert len(system.kafka.read(system.topic)) == 2
    assert system.kafka.read(elsewhere) == []


def test_a_topic_that_kafka_connect_filled_is_replayed_to_where_each_record_came_from(system: System) -> None:
    origins = [system.kafka.new_topic(1, "orders"), system.kafka.new_topic(1, "payments")]
    producer = Producer({"bootstrap.servers": system.kafka.bootstrap_servers})
    for number, origin in enumerate(origins * 5):
        producer.produce(
            system.dlq_topic, f"value {number}".encode(), b"key",
            headers=[("own", b"1"), ("__connect.errors.topic", origin.encode()), ("__connect.errors.partition", b"0"),
                     ("__connect.errors.offset", str(number).encode()), ("__connect.errors.stage", b"VALUE_CONVERTER"),
                     ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
                     ("__connect.errors.exception.message", b"no")],
        )  # fmt: skip
    producer.flush()
    done = answer(system.cli("dlq", "replay", "--yes", "--json"))
    assert (done["selected"], done["replayed"]) == (10, 10)
    for origin in origins:
        records = system.kafka.read(origin)
        assert len(records) == 5
        for record in records:
            assert record.key == b"key"
            assert header(record, "own") == "1"
            assert header(record, "keepstream.dlq.replay-count") == "1"
            assert header(record, "__connect.errors.exception.message") is None
    assert "0 selected" in system.cli("dlq", "replay", "--yes").stderr
    assert all(len(system.kafka.read(origin)) == 5 for origin in origins)


def test_a_killed_replay_is_resumed_and_sends_nothing_twice(new_system: Callable[..., System]) -> None:
    system = new_system(partitions=4)
    fail_events(system, 900)
    system.workers[0].process.stop()
    before = len(system.kafka.read(system.topic))
    for attempt in range(3):
        arguments = ("--yes", "--rate", "400/s") if attempt == 0 else ("--resume", "1")
        argv = system.cli_argv("dlq", "replay", *arguments)
        process = subprocess.Popen(argv, env={**os.environ, **system.settings()}, stderr=subprocess.DEVNULL)
        sent = f"SELECT count(*) FROM replay_letters WHERE state = 'produced' AND seen_in_pass = {attempt + 1}"
        least = 100 * (attempt + 1)
        eventually(lambda sent=sent, least=least: system.database.value(sent) >= least, 30)  # type: ignore[misc]
        process.kill()
        process.wait()
    done = answer(system.cli("dlq", "replay", "--resume", "1", "--json"))
    assert done["adds_up"]
    assert (done["selected"], done["replayed"], done["failed"]) == (900, 900, 0)
    records = system.kafka.read(system.topic)
    replayed = [header(record, "keepstream.dlq.replay-of") for record in records]
    assert len(records) - before == 900
    assert len({letter for letter in replayed if letter}) == 900


def test_ctrl_c_ends_between_chunks_and_says_how_to_go_on(system: System) -> None:
    fail_events(system, 200)
    argv = system.cli_argv("dlq", "replay", "--yes", "--rate", "50/s")
    process = subprocess.Popen(argv, env={**os.environ, **system.settings()}, stderr=subprocess.PIPE, text=True)
    eventually(lambda: system.database.value("SELECT count(*) FROM replay_letters WHERE state = 'produced'") > 0)
    process.send_signal(2)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert "dlq replay --resume 1" in said
    assert system.database.value("SELECT state FROM replays") == "cancelled"


def test_two_replays_of_one_topic_do_not_run_at_once(system: System) -> None:
    fail_events(system, 200)
    argv = system.cli_argv("dlq", "replay", "--yes", "--rate", "10/s")
    process = subprocess.Popen(argv, env={**os.environ, **system.settings()}, stderr=subprocess.DEVNULL)
    eventually(lambda: system.database.value("SELECT count(*) FROM replay_letters WHERE state = 'produced'") > 0)
    refused = system.cli("dlq", "replay", "--yes", "--json", exit_code=5)
    assert json.loads(refused.stderr.splitlines()[-1])["error"]["code"] == "busy"
    process.kill()
    process.wait()


def test_a_payload_is_mended_on_the_way(system: System) -> None:
    fail_events(system, 5)
    shown = system.cli("dlq", "replay", "--dry-run", "--set", "payload.amount=7")
    assert '-    "amount": 1000' in shown.stdout
    assert '+    "amount": 7' in shown.stdout
    done = answer(system.cli("dlq", "replay", "--yes", "--set", "payload.amount=7", "--wait", "--json"))
    assert (done["delivered"], done["dead_again"]) == (5, 0)
    assert system.database.value("SELECT count(*) FROM events WHERE payload = '{\"amount\": 7}'") == 5


def test_a_value_is_mended_in_the_editor(system: System) -> None:
    fail_events(system, 2)
    editor = system.folder / "editor.sh"
    editor.write_text("#!/bin/sh\nsed -i /^{/s/1000/9/ $1\n")
    editor.chmod(0o755)
    done = system.cli("dlq", "replay", "--yes", "--edit", "--wait", "--json", EDITOR=str(editor))
    assert answer(done)["delivered"] == 2
    assert "+" in done.stderr
    assert system.database.value("SELECT count(*) FROM events WHERE payload = '{\"amount\": 9}'") == 2


def test_a_dead_letter_without_a_source_topic_fails_and_the_sum_says_so(system: System) -> None:
    system.produce([])
    system.kafka.produce(system.dlq_topic, [b"orphan"])
    done = answer(system.cli("dlq", "replay", "--yes", "--json", exit_code=1))
    assert (done["selected"], done["failed"], done["adds_up"]) == (1, 1, True)


def test_a_rate_is_kept(system: System) -> None:
    fail_events(system, 200)
    started = time.monotonic()
    system.cli("dlq", "replay", "--yes", "--rate", "100/s")
    assert time.monotonic() - started > 1.8
