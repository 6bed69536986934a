"""Which topics a command works with, where the settings name several."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest
from click.testing import CliRunner, Result

from keepstream.app.cli.root import root
from keepstream.app.connect.services import Services
from keepstream.app.demo import run as demo_run
from keepstream.app.errors import UNREACHABLE, USAGE, KeepstreamError
from keepstream.app.status import audit, observer
from keepstream.schemas.audit import Check
from tests.odd_arguments import command_at, commands

TWO = """
[keepstream.topics.orders]
[keepstream.topics.payments.postgres]
url = "postgresql://127.0.0.1:1/payments"
[keepstream.topics.payments.mapping]
id = "/payment/no"
"""
ONE_TOPIC = {
    "dlq list": (), "dlq show": ("x",), "dlq stats": (), "dlq replay": ("--dry-run",), "dlq export": ("--output", "-"),
    "dlq import": ("-",), "dlq purge": ("--yes", "--until", "30d"), "events list": (), "events show": ("x",),
}  # fmt: skip
"""Commands that work with one topic, with what they need beside it."""
POSTGRES = Services.postgres
ALL_TOPICS = {
    "tables plan",
    "tables apply",
    "status",
    "lag",
    "audit",
    "doctor",
    "topics ensure",
    "topics status",
    "db migrate",
    "db status",
    "db prune",
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable and no file of the machine's, and no server."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("KEEPSTREAM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(Services, "admin", away)
    monkeypatch.setattr(Services, "postgres", away)


def away(services: Services, *_arguments: object) -> NoReturn:
    place = services.settings.postgres.schema_name
    raise KeepstreamError("away", f"nothing answers at {place}", "start it", UNREACHABLE)


def write(text: str = TWO) -> None:
    Path("keepstream.toml").write_text(text)


def run(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(root, words, input=stdin)


def takes_topic(path: tuple[str, ...]) -> bool:
    return any(
        "--topic" in parameter.opts for parameter in command_at(path).params if isinstance(parameter, click.Option)
    )


def test_each_command_that_knows_a_topic_takes_its_name() -> None:
    own = {"events produce", "events validate", "contract export"}
    assert {" ".join(path) for path in commands() if takes_topic(path)} >= {*ONE_TOPIC, *ALL_TOPICS, *own}


@pytest.mark.parametrize("command", ONE_TOPIC)
def test_a_command_for_one_topic_wants_to_know_which(command: str) -> None:
    words = [*command.split(), *ONE_TOPIC[command]]
    write()
    done = run(*words)
    assert (done.exit_code, "several topics: orders, payments" in done.stderr) == (USAGE, True), done.stderr
    assert "--topic" in done.stderr
    done = run(*words, "--topic", "nothing")
    assert (done.exit_code, "no topic 'nothing', but orders, payments" in done.stderr) == (USAGE, True), done.stderr
    assert "keepstream_payments" in run(*words, "--topic", "payments").stderr


@pytest.mark.parametrize("command", [*ONE_TOPIC, *sorted(ALL_TOPICS - {"db prune", "doctor"})])
def test_one_topic_by_plain_settings_may_be_named_and_no_other(command: str) -> None:
    words = [*command.split(), *ONE_TOPIC.get(command, ())]
    assert run(*words, "--topic", "events").exit_code == run(*words).exit_code == UNREACHABLE
    done = run(*words, "--topic", "orders")
    assert (done.exit_code, "no topic 'orders', but events" in done.stderr) == (USAGE, True), done.stderr


def test_one_topic_among_the_topics_need_not_be_chosen() -> None:
    write("[keepstream.topics.orders]\n")
    done = run("dlq", "list")
    assert (done.exit_code, "keepstream_orders" in done.stderr) == (UNREACHABLE, True), done.stderr


def test_a_contract_is_exported_for_the_topic_chosen() -> None:
    write()
    assert run("contract", "export").exit_code == USAGE
    exported = {topic: run("contract", "export", "--topic", topic).stdout for topic in ("orders", "payments")}
    assert "event_id" in json.loads(exported["orders"])["properties"]
    assert "payment" in json.loads(exported["payments"])["properties"]


def test_a_contract_that_cannot_be_imported_is_named_with_its_topic() -> None:
    write('[keepstream.topics.orders]\n[keepstream.topics.payments]\ndecode = "no.such:hook"\n')
    done = run("contract", "export", "--topic", "payments")
    assert (done.exit_code, "Error: topics.payments.decode: " in done.stderr) == (USAGE, True), done.stderr
    found = [json.loads(line) for line in run("doctor", "--json").stdout.splitlines()]
    assert found[0]["seen"].startswith("topics.payments.decode: ")


def test_produce_takes_any_topic_and_wants_one_of_several() -> None:
    write()
    assert run("events", "produce", "-").exit_code == USAGE
    assert run("events", "produce", "-", "--topic", "elsewhere").exit_code == UNREACHABLE


def test_lines_are_validated_under_the_settings_of_the_topic_chosen() -> None:
    write()
    payment = '{"payment": {"no": "4711"}, "payload": {}}\n'
    assert run("events", "validate", "-", stdin=payment).exit_code == USAGE
    assert run("events", "validate", "-", "--topic", "orders", stdin=payment).exit_code == 1
    assert run("events", "validate", "-", "--topic", "payments", stdin=payment).exit_code == 0
    assert run("events", "validate", "-", "--topic", "elsewhere", stdin=payment).exit_code == USAGE
    assert "no topic elsewhere" in run("events", "validate", "--topic", "elsewhere").stderr
    suggested = run("events", "validate", "-", "--topic", "orders", "--suggest", stdin=payment.replace("no", "id"))
    assert '[keepstream.topics."orders".mapping]\n' in suggested.stdout


@pytest.fixture
def payments_are_away(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def postgres(services: Services, *_arguments: object) -> Iterator[object]:
        if services.settings.kafka.topic == "payments":
            away(services)
        yield object()

    monkeypatch.setattr(Services, "postgres", postgres)


def rows_of(services: Services) -> list[dict[str, Any]]:
    with services.postgres():
        return [{"partition": 0, "settled": 1, "committed": 1, "end": 6, "lag": 5, "settled_at": None}]


@pytest.mark.usefixtures("payments_are_away")
def test_a_database_that_is_away_hides_no_other_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "lag_rows", rows_of)
    write()
    done = run("lag", "--json")
    assert [json.loads(line)["topic"] for line in done.stdout.splitlines()] == ["orders"]
    assert (done.exit_code, "Error: payments: nothing answers" in done.stderr) == (UNREACHABLE, True), done.stderr
    assert run("lag", "--max-lag", "4").exit_code == 1
    alone = run("lag", "--json", "--topic", "orders")
    assert (alone.exit_code, next(iter(json.loads(alone.stdout)))) == (0, "partition")


def test_one_error_of_a_topic_is_json_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["keepstream", "lag", "--json"])
    monkeypatch.setattr(observer, "lag_rows", rows_of)
    write()
    errors = [json.loads(line)["error"] for line in run("lag", "--json").stderr.splitlines()]
    assert [(error["topic"], error["code"]) for error in errors] == [("orders", "away"), ("payments", "away")]


def checks_of(topics: list[str], *, off: bool = False) -> list[Check]:
    claims = [Check("total = consumed", 5, 5 + off, topic, 0) for topic in topics]
    return [*claims, Check("delivered = rows in events", 5, 5)]


@pytest.mark.usefixtures("payments_are_away")
def test_the_audit_names_the_topic_of_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "quick_audit", lambda _connection: checks_of(["orders"]))
    write()
    done = run("audit")
    assert done.stdout == "  ok   orders: total = consumed: 5 = 5\n  ok   orders: delivered = rows in events: 5 = 5\n"
    assert (done.exit_code, "Error: payments: nothing answers" in done.stderr) == (UNREACHABLE, True), done.stderr
    total = json.loads(run("audit", "--json").stdout.splitlines()[-1])
    assert (total["claim"], total["topic"]) == ("delivered = rows in events", "orders")
    assert run("audit", "--topic", "orders").stdout.startswith("  ok   total = consumed: 5 = 5\n")
    monkeypatch.setattr(audit, "quick_audit", lambda _connection: checks_of(["orders"], off=True))
    done = run("audit")
    assert (done.exit_code, "Error: orders: the accounts do not balance" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize("option", [("--partition", "0"), ("--from-offset", "1"), ("--to-offset", "1")])
def test_an_offset_or_a_partition_is_of_one_topic(option: tuple[str, str]) -> None:
    write()
    done = run("audit", "--deep", *option)
    assert (done.exit_code, f"{option[0]}: " in done.stderr) == (USAGE, True), done.stderr


@pytest.mark.parametrize(("allowed", "exit_code"), [("false", 1), ("true", 0)])
def test_tables_of_two_topics_fail_the_audit_unless_that_is_allowed(
    allowed: str, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Services, "postgres", lambda _services: nullcontext())
    monkeypatch.setattr(audit, "quick_audit", lambda _connection: checks_of(["events", "orders"]))
    monkeypatch.setenv("KEEPSTREAM_POSTGRES__ALLOW_OTHER_TOPICS", allowed)
    done = run("audit")
    assert done.exit_code == exit_code
    assert "these tables contain the events of events, orders: the same event_id in two topics is one" in done.stderr
    assert ("KEEPSTREAM_POSTGRES__SCHEMA_NAME" in done.stderr) is (exit_code == 1)


def test_doctor_names_the_topics_of_a_database_that_is_away() -> None:
    write()
    done = run("doctor", "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["check"], one.get("topic")) for one in found if one["state"] == "fail"] == [
        ("kafka", None), ("postgres", "orders"), ("postgres", "payments"),
    ]  # fmt: skip
    assert "failed: kafka, postgres of orders, postgres of payments" in done.stderr
    assert "fail  postgres  payments: nothing answers" in run("doctor").stdout


def test_topics_in_one_database_are_checked_together() -> None:
    write("[keepstream.topics.orders]\n[keepstream.topics.payments]\n")
    found = [json.loads(line) for line in run("doctor", "--json").stdout.splitlines()]
    assert [one.get("topic") for one in found if one["check"] == "postgres"] == [None]


def test_the_own_url_of_a_topic_is_named_where_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Services, "postgres", POSTGRES)
    monkeypatch.setenv("KEEPSTREAM_POSTGRES__URL", "postgresql://127.0.0.1:1/orders")
    write()
    done = run("db", "status")
    assert done.exit_code == UNREACHABLE
    assert done.stderr.count("check KEEPSTREAM_POSTGRES__URL") == 1
    assert done.stderr.count("check topics.payments.postgres.url") == 1


def test_a_replay_is_resumed_with_its_topic() -> None:
    write()
    done = run("dlq", "replay", "--resume", "3", "--topic", "orders")
    assert done.exit_code == UNREACHABLE


class StartedError(Exception):
    pass


def test_the_worker_of_the_demo_reads_the_demos_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever topics and mappings the environment and a settings file name."""
    given: list[dict[str, Any]] = []

    def start(*_arguments: object, **options: Any) -> NoReturn:
        given.append(options)
        raise StartedError

    monkeypatch.setattr(demo_run, "WorkerProcess", start)
    servers: Any = type(
        "Servers", (), {"bootstrap_servers": "127.0.0.1:1", "postgres_url": "postgresql://127.0.0.1:1/x"}
    )
    with pytest.raises(StartedError), demo_run.Demo(servers, 100, 0, lambda *_: None)._worker():
        pass
    (options,) = given
    for name in ("KEEPSTREAM_TOPICS__ORDERS__DLQ_TOPIC", "KEEPSTREAM_CONFIG", "KEEPSTREAM_MAPPING__ID"):
        assert name.startswith(options["without"])
