"""`keepstream dlq` as a process: finding, showing and counting dead letters, with PostgreSQL and without."""

from __future__ import annotations

import importlib
import json
import os
import signal
import struct
import subprocess
from collections.abc import Callable
from typing import Any

import click
import pytest

from keepstream.app.cli.root import DLQ_COMMANDS
from keepstream.schemas.failure import Step, Verdict
from tests.acceptance.conftest import System
from tests.acceptance.dead_letters import SeededTopic, nowhere, without_postgres
from tests.builders import make_value

pytestmark = pytest.mark.real

CONNECT = "__connect.errors."


@pytest.mark.parametrize("name", DLQ_COMMANDS)
def test_every_command_has_a_help_with_an_example(name: str) -> None:
    module, attribute, _ = DLQ_COMMANDS[name]
    command: click.Command = getattr(importlib.import_module(module), attribute)
    assert command.help
    assert (command.epilog or "").startswith(f"Example: keepstream dlq {name}")
    for parameter in command.params:
        assert isinstance(parameter, click.Argument) or getattr(parameter, "help", None), parameter.name


def test_what_a_worker_dead_lettered_is_listed(system: System, dlq: SeededTopic) -> None:
    system.produce([b"{", make_value(), b"[]"])
    system.start_worker()
    system.settled(3)
    answer = dlq.run("dlq", "list", "--json", KEEPSTREAM_KAFKA__DLQ_TOPIC=system.dlq_topic)
    rows = {row["reason"]: row for row in answer.rows}
    assert rows.keys() == {"invalid_json", "not_an_object"}
    assert rows["invalid_json"]["id"] == f"{system.topic}-0-0"
    assert rows["invalid_json"]["state"] == "open"
    assert rows["not_an_object"]["origin_offset"] == 2


def test_the_newest_unresolved_are_listed_first(dlq: SeededTopic) -> None:
    for number, state in enumerate(["open", "settled", None, "produced", "planned", "discarded", "dead_again", "open"]):
        dlq.add(number, state=state)
    assert dlq.ids() == ["7", "4", "2", "0"]
    assert dlq.ids("--include-resolved") == ["7", "6", "5", "4", "3", "2", "1", "0"]
    assert dlq.ids("--limit", "2") == ["7", "4"]


def test_those_that_wait_to_be_published_are_counted(dlq: SeededTopic) -> None:
    dlq.add(1)
    dlq.add(2)
    dlq.database.execute('UPDATE dead_letters SET place = NULL WHERE "offset" = 2')  # in the topic, not confirmed yet
    dlq.database.execute(
        'INSERT INTO dead_letters (topic, partition, "offset", step, verdict, reason, message, attempts, '
        "first_failed_at, last_failed_at) VALUES ('events', 0, 3, 'store', 'record', 'late', 'no', 1, now(), now())"
    )
    for offset in (2, 3):
        dlq.database.execute(
            "INSERT INTO dead_letter_outbox (topic, partition, \"offset\", letter) VALUES ('events', 0, %s, '')", offset
        )
    answer = dlq.here("dlq", "list", "--json")
    assert [row["id"] for row in answer.rows] == ["events-0-2", "events-0-1"]
    assert answer.errors == ("2 wait in PostgreSQL for Kafka to confirm them, and are listed then at the latest\n")


def test_fifty_are_listed_by_default(dlq: SeededTopic) -> None:
    for number in range(60):
        dlq.add(number, state=None)
    assert len(dlq.ids()) == 50
    assert len(dlq.ids("--limit", "55")) == 55


def test_without_postgres_all_are_listed_and_one_line_says_so(dlq: SeededTopic) -> None:
    dlq.add(1)
    dlq.add(2, state="settled")
    away = without_postgres()
    answer = dlq.run("dlq", "list", "--json", **away)
    assert [row["id"] for row in answer.rows] == ["events-0-2", "events-0-1"]
    assert [row["state"] for row in answer.rows] == [None, None]
    server = away["KEEPSTREAM_POSTGRES__URL"].split("/")[2]
    why = f"PostgreSQL cannot be reached at {server}: no server answers"
    assert answer.errors.splitlines() == [f"Only what the topic says, without states and rows: {why}"]
    assert answer.exit_code == 0


def test_a_line_per_dead_letter_cannot_harm_the_terminal(dlq: SeededTopic) -> None:
    dlq.add(1, message="\x1b[2J[bold]no[/x]\nreally")
    answer = dlq.run("dlq", "list")
    header, line = answer.text.splitlines()
    assert header.split() == ["ID", "DIED", "STATE", "REASON", "STEP", "TOPIC", "MESSAGE"]
    assert line.split() == [
        "events-0-1", "2026-11-24T12:01:00Z", "open", "check_violation", "store", "events",
        "\\x1b[2J[bold]no[/x]", "really",
    ]  # fmt: skip
    assert dlq.run("dlq", "show", "e-1").text.count("\x1b") == 0


SELECTED: dict[tuple[str, ...], list[str]] = {
    ("events-0-3",): ["3"],
    ("events-0-3", "events-0-1"): ["3", "1"],
    ("--event-id", "e-2"): ["2"],
    ("--event-id", "e-2", "--event-id", "e-1"): ["2", "1"],
    ("--key", "b"): ["2"],
    ("--step", "validate"): ["1"],
    ("--reason", "late", "--reason", "bad"): ["3", "1"],
    ("--verdict", "exhausted"): ["3"],
    ("--sqlstate", "40001"): ["3"],
    ("--since", "2026-11-24T12:02:00Z"): ["3", "2"],
    ("--until", "2026-11-24T12:02:00Z"): ["1", "0"],
    ("--since", "52w", "--until", "2026-11-24T12:01:00Z"): ["0"],
    ("--partition", "1"): ["3"],
    ("--partition", "0", "--from-offset", "1"): ["2", "1"],
    ("--where", "payload.order.id=7"): ["2"],
    ("--key", "a", "--step", "store"): ["0"],
}


def test_every_selector_selects(new_dlq: Callable[..., SeededTopic]) -> None:
    dlq = new_dlq(partitions=2)
    dlq.add(0, key=b"a")
    dlq.add(1, key=b"a", step=Step.VALIDATE, reason="bad", sqlstate=None)
    dlq.add(2, key=b"b", value=b'{"payload":{"order":{"id":7}}}')
    dlq.add(3, partition=1, verdict=Verdict.EXHAUSTED, reason="late", sqlstate="40001")
    for arguments, expected in SELECTED.items():
        assert dlq.ids(*arguments) == expected, arguments


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--since", "yesterday"], "--since"),
        (["--until", "2x"], "--until"),
        (["--since", "1h", "--until", "2h"], "--until"),
        (["--where", "payload"], "--where"),
        (["--partition", "5"], "--partition"),
        (["--partition", "-1"], "--partition"),
        (["--from-offset", "x"], "--from-offset"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_a_selector_that_makes_no_sense_is_named(dlq: SeededTopic, arguments: list[str], named: str) -> None:
    answer = dlq.here("dlq", "list", *arguments)
    assert answer.exit_code == 2
    assert named in answer.errors
    assert answer.output == b""


def test_errors_are_json_for_those_who_asked_for_json(dlq: SeededTopic) -> None:
    answer = dlq.run("dlq", "list", "--json", "--since", "x")
    assert json.loads(answer.errors)["error"]["code"] == "bad_selector"


@pytest.mark.parametrize("command", [["list"], ["show", "x"], ["stats"], ["export", "--output", "-"]])
def test_a_topic_that_does_not_exist_is_not_found(dlq: SeededTopic, command: list[str]) -> None:
    answer = dlq.run("dlq", *command, KEEPSTREAM_KAFKA__DLQ_TOPIC="no-such-topic")
    assert (answer.exit_code, answer.output) == (3, b"")
    assert "no-such-topic" in answer.errors


def test_a_broker_that_cannot_be_reached_is_said(dlq: SeededTopic) -> None:
    address = nowhere()
    answer = dlq.run("dlq", "list", KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS=address)
    assert (answer.exit_code, answer.output) == (4, b"")
    assert address in answer.errors


def test_following_shows_what_arrives_until_interrupted(dlq: SeededTopic) -> None:
    dlq.add(1)
    environment = {**os.environ, **dlq.settings(), "PYTHONUNBUFFERED": "1"}
    argv = dlq.argv("dlq", "list", "--follow", "--json", "--since", "2026-11-24T12:00:00Z")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["id"] == "events-0-1"
        dlq.add(2)
        assert json.loads(process.stdout.readline())["id"] == "events-0-2"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


def test_dead_letters_are_counted_by_the_given_groups(dlq: SeededTopic) -> None:
    dlq.add(1, value=b'{"payload":{"type":"order"}}')
    dlq.add(2, value=b'{"type":"order"}')
    dlq.add(70, reason="late")
    dlq.add(3, state="settled")
    answer = dlq.here("dlq", "stats", "--json")
    assert answer.rows == [
        {"letters": 2, "step": "store", "reason": "check_violation", "verdict": "record"},
        {"letters": 1, "step": "store", "reason": "late", "verdict": "record"},
    ]
    assert answer.errors == "3 dead letters\n"
    by_type = dlq.here("dlq", "stats", "--by", "type", "--json").rows
    assert by_type == [{"letters": 2, "type": "order"}, {"letters": 1, "type": None}]
    by_hour = dlq.here("dlq", "stats", "--by", "hour", "--include-resolved", "--json").rows
    assert by_hour == [{"letters": 3, "hour": "2026-11-24T12:00Z"}, {"letters": 1, "hour": "2026-11-24T13:00Z"}]
    assert dlq.here("dlq", "stats", "--reason", "late", "--by", "step", "--json").rows[0]["letters"] == 1


@pytest.mark.parametrize(("limit", "exit_code"), [("1", 1), ("2", 0)])
def test_more_than_a_number_fails(dlq: SeededTopic, limit: str, exit_code: int) -> None:
    dlq.add(1)
    dlq.add(2)
    answer = dlq.run("dlq", "stats", "--fail-above", limit)
    assert answer.exit_code == exit_code
    assert "check_violation" in answer.text


def test_dead_letters_of_other_systems_are_understood(dlq: SeededTopic) -> None:
    dlq.produce(b"{", b"k", [
        (CONNECT + "topic", b"orders"), (CONNECT + "partition", b"1"), (CONNECT + "offset", b"5"),
        (CONNECT + "stage", b"VALUE_CONVERTER"), (CONNECT + "exception.class.name", b"org.Bad"),
    ])  # fmt: skip
    dlq.produce(b"{}", None, [
        ("kafka_dlt-original-topic", b"bills"), ("kafka_dlt-original-partition", struct.pack(">i", 2)),
        ("kafka_dlt-original-offset", struct.pack(">q", 9)), ("kafka_dlt-exception-fqcn", b"java.lang.X"),
    ], timestamp=1_795_514_400_001)  # fmt: skip
    rows: list[dict[str, Any]] = dlq.run("dlq", "list", "--json").rows
    assert [(row["id"], row["reason"]) for row in rows] == [("bills-2-9", "java.lang.X"), ("orders-1-5", "org.Bad")]
    assert dlq.run("dlq", "show", "orders-1-5", "--raw").output == b"{"
    counts = dlq.here("dlq", "stats", "--by", "reason", "--json").rows
    assert [row["letters"] for row in counts] == [1, 1]


def test_a_replayed_dead_letter_of_another_system_is_resolved(dlq: SeededTopic) -> None:
    dlq.produce(b"{", b"k", [("source_topic", b"o"), ("source_partition", b"0"), ("source_offset", b"5")])
    dlq.database.execute("INSERT INTO replays (dlq_topic, selection, started_by) VALUES (%s, '{}', 'me')", dlq.topic)
    dlq.database.execute(
        "INSERT INTO replay_letters (replay_id, letter_id, state, seen_in_pass) "
        "VALUES (1, 'o-0-5', 'settled', 1)"
    )  # fmt: skip
    assert dlq.ids() == []
    assert dlq.ids("--include-resolved") == ["o-0-5"]
