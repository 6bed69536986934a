"""The audit, on real parts: silent where the promise held, and it names what was broken by hand."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.real import eventually

pytestmark = pytest.mark.real


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def off(done: subprocess.CompletedProcess[str]) -> list[tuple[str, int | None]]:
    """The claims that do not hold, with their partition."""
    return [(row["claim"], row["partition"]) for row in lines(done) if row.get("holds") is False]


def differences(system: System, *options: str, exit_code: int = 1) -> list[tuple[str, int, int]]:
    """What the deep form names: (fault, partition, offset)."""
    done = system.cli("audit", "--deep", "--json", *options, exit_code=exit_code)
    return [(row["fault"], row["partition"], row["offset"]) for row in lines(done) if "fault" in row]


@pytest.fixture
def settled(new_system: Callable[..., System]) -> System:
    """300 records over two partitions: 240 events, 30 repeats, 30 broken; all settled, the worker gone."""
    system = new_system(partitions=2)
    for partition in (0, 1):
        events = [make_value(event_id=f"e-{partition}-{i}") for i in range(120)]
        broken = [b"broken %d" % i for i in range(15)]
        system.produce([*events[:50], *broken, *events[:15], *events[50:]], partition=partition)
    system.start_worker()
    system.settled(300)
    system.stop()
    return system


def test_what_was_settled_in_peace_holds_in_both_forms(settled: System) -> None:
    done = settled.cli("audit", "--deep")
    assert "OFF" not in done.stdout
    assert "ok   consumed = delivered + duplicate + stale + ignored + dead-lettered: 300 = 300" in done.stdout
    assert "ok   records neither stored nor dead-lettered, or both: 0 of 300 read" in done.stdout
    rows = lines(settled.cli("audit", "--json"))
    assert len(rows) == 2 * 6 + 1
    assert all(row["holds"] for row in rows)


def test_a_row_deleted_by_hand_is_named(settled: System) -> None:
    settled.database.execute("DELETE FROM events WHERE event_id IN ('e-0-7', 'e-1-100')")
    assert off(settled.cli("audit", "--json", exit_code=1)) == [("delivered = rows in events", None)]
    # e-0-7 came twice, as offsets 7 and 72: both records are gone.
    assert differences(settled, "--all") == [("missing", 0, 7), ("missing", 0, 72), ("missing", 1, 130)]
    assert differences(settled) == [("missing", 0, 7)]
    assert "e-0-7" in settled.cli("audit", "--deep", exit_code=1).stdout


def test_an_older_version_instead_of_a_newer_one_is_named(settled: System) -> None:
    settled.database.execute("UPDATE events SET created_at = created_at - interval '1 s', source_offset = -5 "
                             "WHERE event_id = 'e-0-60'")  # fmt: skip
    assert differences(settled, "--all") == [("outdated", 0, 90)]


@pytest.mark.parametrize("column", ["total", "delivered", "duplicate", "stale", "ignored", "failed"])
def test_a_counter_changed_by_hand_is_named_with_its_partition(settled: System, column: str) -> None:
    settled.database.execute(f"UPDATE event_counters SET {column} = {column} + 1 WHERE partition = 1")
    claims = off(settled.cli("audit", "--json", exit_code=1))
    assert {partition for _, partition in claims} <= {1, None}
    assert any(partition == 1 for _, partition in claims)


def test_two_counters_changed_against_each_other_are_found(settled: System) -> None:
    settled.database.execute("UPDATE event_counters SET delivered = delivered + 1, duplicate = duplicate - 1 "
                             "WHERE partition = 0")  # fmt: skip
    assert off(settled.cli("audit", "--json", exit_code=1)) == [("delivered = rows in events", None)]


def test_an_offset_moved_by_hand_is_named(settled: System) -> None:
    settled.database.execute("UPDATE stream_offsets SET next_offset = next_offset - 10 WHERE partition = 0")
    assert off(settled.cli("audit", "--json", exit_code=1)) == [
        ("first offset + consumed + skipped = next offset", 0), ("rows and dead letters beyond the next offset = 0", 0),
    ]  # fmt: skip


def test_a_row_of_the_ledger_deleted_by_hand_is_found(settled: System) -> None:
    settled.database.execute("""DELETE FROM dead_letters WHERE partition = 1 AND "offset" = 52""")
    claims = off(settled.cli("audit", "--json", exit_code=1))
    assert claims == [("dead-lettered = rows in dead_letters", 1)]
    assert differences(settled, "--all") == [("uncounted", 1, 52)]


def test_dead_letters_deleted_from_the_topic_are_named(settled: System) -> None:
    admin = AdminClient({"bootstrap.servers": settled.kafka.bootstrap_servers})
    gone = sorted((letter.partition, letter.offset) for letter in _origins(settled)[:4])
    for answer in admin.delete_records([TopicPartition(settled.dlq_topic, 0, 4)]).values():
        answer.result(timeout=30)
    settled.cli("audit")  # the quick form does not read the topic
    assert differences(settled, "--all") == [("letter_lost", *place) for place in gone]


def test_dead_letters_that_never_came_are_named(settled: System) -> None:
    settled.dlq_topic = settled.kafka.new_topic(1, "event-dlq", DEAD_LETTER_TOPIC_CONFIG)
    found = differences(settled, "--all", "--partition", "0")
    assert found == [("letter_lost", 0, offset) for offset in range(50, 65)]
    assert differences(settled, "--from-offset", "52", "--to-offset", "54", "--all") == [
        ("letter_lost", partition, offset) for partition in (0, 1) for offset in (52, 53)
    ]  # fmt: skip


def test_dead_letters_that_were_purged_on_purpose_are_no_discrepancy(settled: System) -> None:
    settled.cli("dlq", "purge", "--to-offset", "10", "--partition", "0", "--yes")
    assert differences(settled, "--all", exit_code=0) == []


def test_a_record_that_is_stored_and_dead_lettered_is_named(settled: System) -> None:
    stored = next(r for r in settled.kafka.read(settled.topic) if (r.partition, r.offset) == (1, 20))
    settled.kafka.produce(settled.dlq_topic, [stored.value], headers=[
        ("keepstream.dlq.id", f"{settled.topic}-1-20".encode()),
    ])  # fmt: skip
    assert differences(settled, "--all") == [("both", 1, 20)]


def test_since_reads_only_what_came_later(settled: System) -> None:
    settled.database.execute("DELETE FROM events WHERE event_id = 'e-0-7'")
    since = datetime.now(UTC).isoformat()
    settled.produce([make_value(event_id="late")], partition=0)
    settled.start_worker()
    settled.settled(301)
    assert differences(settled, "--since", since, "--all", exit_code=1) == []  # the quick form still says no
    done = settled.cli("audit", "--deep", "--since", since, "--json", exit_code=1)
    assert lines(done)[-1]["records_read"] == 1


def test_transactions_leave_holes_that_are_no_difference(system: System) -> None:
    system.kafka.produce_in_transactions(system.topic, [
        [b"broken" if i % 10 == 0 else make_value(event_id=f"{number}-{i}") for i in range(20)] for number in range(6)
    ])  # fmt: skip
    system.start_worker()
    system.settled(60)
    system.stop()
    done = system.cli("audit", "--deep", "--json")
    assert lines(done)[-1] == lines(done)[-1] | {"records_read": 60, "letters_read": 6, "differences": 0}
    system.database.execute("DELETE FROM events WHERE event_id = '2-7'")
    assert [fault for fault, _, _ in differences(system, "--all")] == ["missing"]


def test_a_live_worker_and_kills_give_no_false_alarm(new_system: Callable[..., System]) -> None:
    system = new_system(partitions=4)
    ids = [f"e-{i % 9000}" for i in range(20_000)]
    system.produce(b"broken" if i % 40 == 0 else make_value(event_id=ids[i]) for i in range(20_000))
    for share in (0.2, 0.4, 0.6, 0.8):
        worker = system.start_worker()
        while system.database.totals()["total"] < share * 20_000:  # in full flight
            system.cli("audit", "--deep")
        worker.process.kill()
        system.cli("audit", "--deep")
    system.start_worker()
    system.settled(20_000, 120)
    assert differences(system, "--all", exit_code=0) == []


def test_a_difference_ends_with_exit_code_1_and_one_json_error(settled: System) -> None:
    settled.database.execute("DELETE FROM events WHERE event_id = 'e-0-7'")
    done = settled.cli("audit", "--deep", "--json", exit_code=1)
    assert json.loads(done.stderr.strip().splitlines()[-1])["error"]["code"] == "promise_broken"
    assert lines(done)[-1]["complete"] is False


def test_what_cannot_be_asked_is_said(settled: System) -> None:
    settled.cli("audit", "--since", "2h", exit_code=2)
    settled.cli("audit", "--deep", "--partition", "9", exit_code=2)
    settled.cli("audit", "--deep", exit_code=4, KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1")
    settled.dlq_topic += "-missing"
    settled.cli("audit", "--deep", exit_code=3)


def _origins(system: System) -> list[Any]:
    from keepstream.schemas.record import KafkaRecord, header

    found = []
    for letter in sorted(system.kafka.read(system.dlq_topic), key=lambda record: record.offset):
        _, partition, offset = (header(letter, "keepstream.dlq.id") or "").rsplit("-", 2)
        found.append(KafkaRecord(system.topic, int(partition), int(offset), 0, None, None))
    return found


def test_a_topic_that_was_recreated_since_is_named(settled: System) -> None:
    admin = AdminClient({"bootstrap.servers": settled.kafka.bootstrap_servers})
    admin.delete_topics([settled.topic])[settled.topic].result(timeout=30)
    eventually(lambda: settled.topic not in admin.list_topics(timeout=10).topics, 30)
    settled.kafka.create_topic(settled.topic, 2)
    done = settled.cli("audit", "--deep", exit_code=1)
    assert f"{settled.topic} was re-created, and partitions 0, 1 stand in the former one" in done.stderr


def test_two_topics_in_one_schema_are_reported(new_system: Callable[..., System]) -> None:
    first, second = (new_system() for _ in range(2))
    for count, system in enumerate((first, second), 1):
        system.produce([make_value(event_id="same")])
        worker = system.start_worker(KEEPSTREAM_POSTGRES__ALLOW_OTHER_TOPICS="true")
        system.settled(count)
    sentence = "the same event_id in two topics is one event"
    eventually(lambda: any(sentence in line["event"] for line in worker.log()), 20)
    doctor = second.cli("doctor", "--json", exit_code=1)
    finding = next(row for row in lines(doctor) if sentence in row["seen"])
    assert (finding["state"], first.topic in finding["seen"]) == ("fail", True)
    assert sentence in second.cli("audit", exit_code=1).stderr
    second.cli("doctor", KEEPSTREAM_POSTGRES__ALLOW_OTHER_TOPICS="true")
    assert sentence in second.cli("audit", KEEPSTREAM_POSTGRES__ALLOW_OTHER_TOPICS="true").stderr
