"""Commands on two topics, each with its tables in a schema of its own, on real parts."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from keepstream.app.cli.root import root
from keepstream.app.errors import UNREACHABLE
from tests.builders import make_value
from tests.real import Kafka, Servers, eventually

pytestmark = pytest.mark.real
NOWHERE = "postgresql://127.0.0.1:1/x"


@pytest.fixture
def topics(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """Yield two topics that the settings name and that are not made yet. Their schemas are dropped afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("KEEPSTREAM_") and "TEST" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS", servers.bootstrap_servers)
    monkeypatch.setenv("KEEPSTREAM_POSTGRES__URL", servers.postgres_url)
    monkeypatch.setenv("KEEPSTREAM_WEB__WORKER_URLS", '["http://127.0.0.1:1/metrics"]')
    name = uuid.uuid4().hex[:8]
    orders, payments = f"orders-{name}", f"payments-{name}"
    (tmp_path / "keepstream.toml").write_text(f"[keepstream.topics.{orders}]\n[keepstream.topics.{payments}]\n")
    yield orders, payments
    with psycopg.connect(servers.postgres_url, autocommit=True) as connection:
        for schema in (f"keepstream_orders_{name}", f"keepstream_payments_{name}"):
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def run(*words: str, exit_code: int = 0) -> Result:
    done = CliRunner().invoke(root, words)
    assert done.exit_code == exit_code, f"{words} ended with {done.exit_code}:\n{done.output}"
    return done


def rows(*words: str, exit_code: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(*words, "--json", exit_code=exit_code).stdout.splitlines()]


@pytest.fixture
def made(topics: tuple[str, str], kafka: Kafka) -> tuple[str, str]:
    """Make topics and tables with the commands; produce two records to the first topic, three to the second."""
    run("topics", "ensure", "--partitions", "1")
    run("db", "migrate")
    for count, topic in enumerate(topics, 2):
        kafka.produce(topic, [make_value() for _ in range(count)])
    return topics


def test_everything_is_made_for_each_topic(topics: tuple[str, str]) -> None:
    created = rows("topics", "ensure", "--partitions", "1")
    assert [row["topic"] for row in created] == [f"{t}{end}" for t in topics for end in ("", "-dlq", "-dlq-parked")]
    assert {row["state"] for row in created} == {"created"}
    assert [row["topic"] for row in rows("topics", "status")] == [f"{t}{end}" for t in topics for end in ("", "-dlq")]
    migrated = rows("db", "migrate")
    assert {row["topic"] for row in migrated} == {*topics}
    assert {row["state"] for row in rows("db", "status", "--check")} == {"applied"}
    assert run("db", "migrate").stderr.count("the schema is up to date") == 2


def test_one_topic_can_be_made_first(topics: tuple[str, str]) -> None:
    assert "topic" not in rows("db", "migrate", "--topic", topics[0])[0]
    states = {(row["topic"], row["state"]) for row in rows("db", "status")}
    assert states == {(topics[0], "applied"), (topics[1], "pending")}
    assert run("doctor", exit_code=1).stdout.count("migrations are pending") == 1


def test_each_topics_lag_and_status_are_its_own(made: tuple[str, str]) -> None:
    eventually(lambda: CliRunner().invoke(root, ["lag"]).exit_code == 0, 30, "a new broker coordinates groups")
    assert [(row["topic"], row["lag"]) for row in rows("lag")] == [(made[0], 2), (made[1], 3)]
    assert [row["lag"] for row in rows("lag", "--topic", made[1])] == [3]
    run("lag", "--max-lag", "4", exit_code=1)
    run("lag", "--max-lag", "4", "--topic", made[1])
    reports = rows("status", "--interval", "0.2")
    assert [(report["topic"], report["lag"]["total"]) for report in reports] == [(made[0], 2), (made[1], 3)]
    screen = run("status", "--interval", "0.2").stdout
    assert [topic in screen for topic in made] == [True, True]


def test_doctor_checks_the_server_once_and_the_tables_of_each(made: tuple[str, str]) -> None:
    found = rows("doctor")
    assert [row["check"] for row in found].count("database") == 1
    assert [row["topic"] for row in found if row["check"] == "tables"] == [*made]
    assert {row["state"] for row in found} <= {"ok", "warn"}


def test_dead_letters_are_those_of_the_topic_chosen(made: tuple[str, str], kafka: Kafka) -> None:
    kafka.produce(f"{made[1]}-dlq", [b"{}"], headers=[("keepstream.dlq.id", f"{made[1]}-0-7".encode())])
    run("dlq", "list", exit_code=2)
    assert rows("dlq", "list", "--topic", made[0]) == []
    (listed,) = rows("dlq", "list", "--topic", made[1])
    assert rows("dlq", "show", listed["id"], "--topic", made[1])
    run("dlq", "show", listed["id"], "--topic", made[0], exit_code=3)


def test_the_audit_is_exact_per_topic(made: tuple[str, str], servers: Servers) -> None:
    assert run("audit", "--deep").stdout.count("records neither stored nor dead-lettered, or both: 0 of 0 read") == 2
    schema = "keepstream_" + made[1].replace("-", "_")
    with psycopg.connect(servers.postgres_url, autocommit=True, options=f"-c search_path={schema}") as connection:
        connection.execute("INSERT INTO stream_offsets (topic, partition, first_offset, next_offset, consumed) "
                           "VALUES (%s, 0, 0, 3, 3)", [made[1]])  # fmt: skip
    done = run("audit", "--deep", "--all", exit_code=1)
    assert f"Error: {made[1]}: the accounts do not balance" in done.stderr
    assert f"{made[0]}: the accounts" not in done.stderr
    assert done.stdout.count("neither stored nor dead-lettered\n") == 3
    run("audit", "--deep", "--topic", made[0])
    summaries = [row for row in rows("audit", "--deep", exit_code=1) if row["kind"] == "summary"]
    assert [(row["topic"], row["differences"]) for row in summaries] == [(made[0], 0), (made[1], 1)]


def test_tables_that_hold_another_topic_fail_doctor_and_audit(
    made: tuple[str, str], servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = "keepstream_" + made[1].replace("-", "_")
    with psycopg.connect(servers.postgres_url, autocommit=True, options=f"-c search_path={schema}") as connection:
        for topic in (made[1], "others"):
            connection.execute("INSERT INTO stream_offsets (topic, partition, first_offset, next_offset) "
                               "VALUES (%s, 0, 0, 0)", [topic])  # fmt: skip
    (failed,) = [row for row in rows("doctor", exit_code=1) if row["state"] == "fail"]
    assert (failed["check"], failed["topic"]) == ("tables", made[1])
    assert "they also contain the events of others" in failed["seen"]
    sentence = f"Error: {made[1]}: these tables contain the events of others, {made[1]}"
    assert sentence in run("audit", exit_code=1).stderr
    monkeypatch.setenv("KEEPSTREAM_POSTGRES__ALLOW_OTHER_TOPICS", "true")
    run("doctor")
    assert sentence.removeprefix("Error: ") in run("audit").stderr


def test_a_database_that_is_away_hides_no_other_topic(made: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTREAM_TOPICS", json.dumps({made[0]: {"postgres": {"url": NOWHERE}}}))
    assert [row["topic"] for row in rows("lag", exit_code=UNREACHABLE)] == [made[1]]
    assert {row["topic"] for row in rows("db", "status", exit_code=UNREACHABLE)} == {made[1]}
    assert {row["topic"] for row in rows("audit", exit_code=UNREACHABLE)} == {made[1]}
    done = run("status", "--interval", "0.2", "--json", exit_code=UNREACHABLE)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [report["outcomes"] is None for report in reports] == [True, False]
    assert f"check topics.{made[0]}.postgres.url" in done.stderr
    found = rows("doctor", exit_code=1)
    assert [row["topic"] for row in found if row["state"] == "fail"] == [made[0]]
    assert [row["topic"] for row in found if row["check"] == "tables"] == [made[1]]
