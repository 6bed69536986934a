"""The commands around the worker: what they print, and how they end."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.real import Database, Kafka, Servers

pytestmark = pytest.mark.real

NOWHERE = "127.0.0.1:1"


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    error: dict[str, str] = json.loads(done.stderr.strip().splitlines()[-1])["error"]
    return error


def test_tables_are_created_once_and_checked(servers: Servers, kafka: Kafka, tmp_path: Path) -> None:
    name = f"cli_{tmp_path.name.lower()[-40:]}"
    system = System(kafka, Database(servers.postgres_url, name), tmp_path)
    try:
        assert error_of(system.cli("db", "status", "--check", "--json", exit_code=1))["code"] == "behind"
        assert {row["state"] for row in lines(system.cli("db", "migrate", "--dry-run", "--json"))} == {"pending"}
        assert {row["state"] for row in lines(system.cli("db", "migrate", "--json"))} == {"applied"}
        assert lines(system.cli("db", "migrate", "--json")) == []
        assert {row["state"] for row in lines(system.cli("db", "status", "--check", "--json"))} == {"applied"}
    finally:
        with psycopg.connect(servers.postgres_url, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


def test_topics_are_created_once_and_checked(system: System) -> None:
    system.topic += "-new"
    assert error_of(system.cli("topics", "status", "--json", exit_code=1))["code"] == "topic_missing"
    states = [row["state"] for row in lines(system.cli("topics", "ensure", "--partitions", "3", "--json"))]
    assert states == ["created", "exists", "created"]  # the topic, its dead letters, their parking lot
    assert lines(system.cli("topics", "status", "--json"))[0]["partitions"] == 3


def test_an_event_is_produced_delivered_and_found(system: System) -> None:
    source = system.folder / "events.jsonl"
    source.write_bytes(make_value(event_id="mine") + b"\nnot json\n")
    produced = lines(system.cli("events", "produce", str(source), "--key-field", "event_id", "--json"))
    assert produced == [{"topic": system.topic, "acknowledged": 2, "refused": 0}]
    system.start_worker()
    system.settled(2)
    (found,) = lines(system.cli("events", "show", "mine", "--json"))
    assert (found["event"]["status"], found["event"]["source_offset"]) == ("delivered", 0)
    assert error_of(system.cli("events", "show", "other", "--json", exit_code=3))["code"] == "unknown_event"
    (lag,) = lines(system.cli("lag", "--max-lag", "0", "--json"))
    assert (lag["settled"], lag["end"], lag["lag"]) == (2, 2, 0)


def test_lag_counts_what_no_worker_has_settled(system: System) -> None:
    system.produce(make_value() for _ in range(5))
    assert [row["lag"] for row in lines(system.cli("lag", "--json"))] == [5]
    assert error_of(system.cli("lag", "--max-lag", "4", "--json", exit_code=1))["code"] == "lagging"


def test_lines_are_validated_as_the_worker_would(system: System) -> None:
    source = system.folder / "events.jsonl"
    source.write_bytes(make_value() + b"\n" + make_value(event_id="") + b"\n")
    done = system.cli("events", "validate", str(source), "--json", exit_code=1)
    assert lines(done) == [{"line": 2, "reason": "invalid_field", "message": "event_id: must not be empty"}]


def test_doctor_finds_a_healthy_system_healthy_and_names_what_is_missing(system: System) -> None:
    (warned,) = [row for row in lines(system.cli("doctor", "--json")) if row["state"] == "warn"]
    assert warned["seen"] == f"{system.dlq_topic}-parked is missing"
    system.kafka.create_topic(f"{system.dlq_topic}-parked", 1, DEAD_LETTER_TOPIC_CONFIG)
    rows = lines(system.cli("doctor", "--json"))
    assert {row["state"] for row in rows} == {"ok"}
    (database,) = [row["seen"] for row in rows if row["check"] == "database"]
    with system.database.connect() as connection:
        at = connection.info
        assert database == f"{at.dbname} at {at.host}:{at.port}, user {at.user}, encoded in UTF8"
    system.dlq_topic += "-missing"
    done = system.cli("doctor", "--json", exit_code=1)
    (failed,) = [row for row in lines(done) if row["state"] == "fail"]
    assert failed["fix"].startswith("run `keepstream topics ensure`")


def test_doctor_warns_of_a_topic_that_may_lose_what_it_acknowledged(system: System) -> None:
    system.topic = system.kafka.new_topic(1, "unsafe", {"unclean.leader.election.enable": "true"})
    warned = next(row for row in lines(system.cli("doctor", "--json")) if row["state"] == "warn")
    assert "unclean.leader.election.enable" in warned["seen"]
    assert warned["fix"]


def test_doctor_warns_of_a_dead_letter_topic_that_workers_date_and_kafka_deletes_from(system: System) -> None:
    system.dlq_topic = system.kafka.new_topic(1, "event-dlq", {"cleanup.policy": "compact", "retention.ms": "1000"})
    warned = {row["seen"]: row["fix"] for row in lines(system.cli("doctor", "--json")) if row["state"] == "warn"}
    name = system.dlq_topic
    assert "LogAppendTime" in warned[f"{name}: message.timestamp.type is CreateTime"]
    assert "delete" in warned[f"{name}: cleanup.policy is compact"]
    assert "-1" in warned[f"{name}: retention.ms is 1000"]
    assert [*warned][-1] == f"{name}-parked is missing"


def test_doctor_says_what_a_migration_of_another_text_means(system: System) -> None:
    system.database.execute("UPDATE schema_migrations SET checksum = 'another' WHERE version = 1")
    done = system.cli("doctor", "--json", exit_code=1)
    (failed,) = [row for row in lines(done) if row["state"] == "fail"]
    assert "migration 1 was applied with another text" in failed["seen"]
    assert failed["fix"]


def test_config_shows_every_setting_and_hides_the_secret(system: System) -> None:
    done = system.cli("config", "show", "--json")
    rows = {row["variable"]: row for row in lines(done)}
    assert rows["KEEPSTREAM_KAFKA__TOPIC"] == {
        **rows["KEEPSTREAM_KAFKA__TOPIC"], "value": system.topic, "origin": "environment",
    }  # fmt: skip
    assert all(row["meaning"] for row in rows.values())
    assert system.database.url not in done.stdout


def test_a_bad_setting_names_its_variable(system: System) -> None:
    done = system.cli("lag", exit_code=2, KEEPSTREAM_KAFKA__SESSION_TIMEOUT_S="-1")
    assert "KEEPSTREAM_KAFKA__SESSION_TIMEOUT_S" in done.stderr


def test_what_cannot_be_reached_is_said_with_exit_code_4(system: System) -> None:
    kafka = system.cli("topics", "status", "--json", exit_code=4, KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS=NOWHERE)
    assert error_of(kafka)["code"] == "kafka_unreachable"
    url = f"postgresql://somebody:s3cret@{NOWHERE}/nothing"
    postgres = system.cli("db", "status", "--json", exit_code=4, KEEPSTREAM_POSTGRES__URL=url)
    assert error_of(postgres)["code"] == "postgres_unreachable"
    assert "s3cret" not in postgres.stderr
