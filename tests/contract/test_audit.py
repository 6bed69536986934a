"""What the audit asks of PostgreSQL and of Kafka, on real parts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import pytest
from confluent_kafka import KafkaException, Producer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepstream.schemas.audit import AuditWindow
from keepstream.sinks.kafka.admin import KafkaAdmin
from keepstream.sinks.kafka.topic_scan import TopicScan
from keepstream.sinks.postgres.audit import audit_tables
from tests.real import Database, Kafka

pytestmark = pytest.mark.real

_ROW = """
INSERT INTO events (event_id, payload, status, created_at, source_topic, source_partition, source_offset)
VALUES (%s, '{}', %s, now(), 'events', %s, %s)"""
_LETTER = """
INSERT INTO dead_letters (topic, partition, "offset", step, verdict, reason, message, attempts, first_failed_at,
                          last_failed_at, state)
VALUES ('events', %s, %s, 'store', 'record', 'r', 'm', 1, now(), now(), %s)"""
PLACES = st.sets(st.tuples(st.integers(0, 1), st.integers(0, 12)), max_size=16)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLACES, PLACES, PLACES, PLACES, PLACES)
def test_offset_ranges_join_rows_dead_letters_and_index_without_overlap(
    database: Database,
    rows: set[tuple[int, int]],
    pending: set[tuple[int, int]],
    letters: set[tuple[int, int]],
    ledger: set[tuple[int, int]],
    outbox: set[tuple[int, int]],
) -> None:
    with database.connect() as connection, connection.transaction(force_rollback=True):
        for partition, offset in rows:
            connection.execute(_ROW, [f"r-{partition}-{offset}", "delivered", partition, offset])
        for partition, offset in pending:
            connection.execute(_ROW, [f"p-{partition}-{offset}", "pending", partition, offset])
        for partition, offset in ledger:
            connection.execute(_LETTER, [partition, offset, "open"])
        for partition, offset in outbox:
            connection.execute("INSERT INTO dead_letter_outbox VALUES ('events', %s, %s, '')", [partition, offset])
        windows = [AuditWindow(p, 2, 10, log_start=0) for p in (0, 1)]
        with audit_tables(connection, "events", windows) as tables:
            held = [place for place in letters if 2 <= place[1] < 10]
            tables.add_dead_letters([*held, *held])
            found = [*tables.offset_ranges()]
            faults = [*tables.dead_letter_discrepancies()]
    expected = {place for place in rows | ledger | set(held) if 2 <= place[1] < 10}
    assert found == [*offset_ranges_of(expected)]
    inside = {place for place in ledger if 2 <= place[1] < 10}
    assert {(f.kind, f.partition, f.offset) for f in faults} == {
        *(("both", *place) for place in rows & set(held)),
        *(("letter_lost", *place) for place in inside - set(held) - outbox),
        *(("uncounted", *place) for place in set(held) - ledger - rows),
    }


def offset_ranges_of(places: set[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """A model: neighbours share the difference between their offset and their rank."""
    ranked = enumerate(sorted(places))
    for (partition, _), group in groupby(ranked, key=lambda pair: (pair[1][0], pair[1][1] - pair[0])):
        offsets = [place[1] for _, place in group]
        yield partition, offsets[0], offsets[-1]


@pytest.mark.parametrize("state", ["produced", "settled", "dead_again", "discarded"])
def test_a_letter_that_was_dealt_with_by_command_is_not_looked_for(database: Database, state: str) -> None:
    database.execute(_LETTER, 0, 5, state)
    with (
        database.connect() as connection,
        audit_tables(connection, "events", [AuditWindow(0, 0, 9, log_start=0)]) as tables,
    ):
        assert [*tables.dead_letter_discrepancies()] == []
        assert [*tables.offset_ranges()] == [(0, 5, 5)]


def test_an_audit_leaves_no_table_behind(database: Database) -> None:
    for _ in range(2):
        with database.connect() as connection:
            with audit_tables(connection, "events", [AuditWindow(0, 0, 9, log_start=0)]) as tables:
                tables.add_dead_letters([(0, 1)])
            assert connection.execute("SELECT to_regclass('audit_dead_letters')").fetchall() == [(None,)]


def test_versions_are_those_of_delivered_rows(database: Database) -> None:
    for event_id, status in (("a", "delivered"), ("b", "pending"), ("c", "failed")):
        database.execute(_ROW, event_id, status, 0, 1)
    with database.connect() as connection, audit_tables(connection, "events", []) as tables:
        assert tables.versions(["a", "b", "c", "d"]).keys() == {"a"}
        assert tables.versions([]) == {}


def test_a_scan_yields_exactly_the_records_of_its_range(kafka: Kafka) -> None:
    topic = kafka.new_topic(2)
    kafka.produce(topic, (b"%d" % i for i in range(12_000)), partition=1)
    with TopicScan(KafkaAdmin({"bootstrap.servers": kafka.bootstrap_servers}), topic) as scan:
        for start, end in ((0, 12_000), (5, 7), (11_990, 12_000), (3, 3), (9, 2)):
            read = [m.offset() for batch in scan.batches(1, start, end) for m in batch]
            assert read == [*range(start, end)]
        assert [*scan.batches(0, 0, 5)] == []  # what is not there is not waited for


def test_a_scan_passes_over_what_no_consumer_sees(kafka: Kafka) -> None:
    topic = kafka.new_topic()
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic})
    producer.init_transactions(30)
    for number in range(4):
        producer.begin_transaction()
        for _ in range(3):
            producer.produce(topic, b"%d" % number)
        producer.flush()
        (producer.abort_transaction if number % 2 else producer.commit_transaction)()
    with TopicScan(KafkaAdmin({"bootstrap.servers": kafka.bootstrap_servers}), topic) as scan:
        values = [m.value() for batch in scan.batches(0, 0, 16) for m in batch]  # the last four: aborted, and a marker
    assert values == [b"0"] * 3 + [b"2"] * 3


def test_a_scan_yields_what_is_unaccounted_for(kafka: Kafka) -> None:
    topic = kafka.new_topic()
    kafka.produce(topic, (b"%d" % i for i in range(100)))
    with TopicScan(KafkaAdmin({"bootstrap.servers": kafka.bootstrap_servers}), topic) as scan:
        batches = [*scan.unaccounted(0, 0, 100, lambda _, offsets: [i for i, o in enumerate(offsets) if o == 42])]
        assert [record.value for batch in batches for record in batch.records] == [b"42"]
        assert sum(batch.count for batch in batches) == 100
        assert batches[-1].reached == 100


def test_a_scan_without_a_broker_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keepstream.sinks.kafka.range_reader.ANSWER_TIMEOUT_S", 1.0)
    with (
        TopicScan(KafkaAdmin({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}), "events") as scan,
        pytest.raises(KafkaException),
    ):
        list(scan.batches(0, 0, 5))
