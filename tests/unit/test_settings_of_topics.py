"""The settings of several topics: how they are written, shown, and named when they are wrong."""

from __future__ import annotations

import json
import os
import re
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from keepstream.app.cli.root import root
from keepstream.app.config.settings import Settings
from keepstream.app.config.variables import not_json, unread_variables
from keepstream.app.telemetry.logging import secrets_of

PAGE = (Path(__file__).resolve().parents[2] / "docs/topics.md").read_text(encoding="utf-8")
URL = "postgresql://ann:s3cret@127.0.0.1/payments"
FILE = f"""
[keepstream.postgres]
url = "postgresql://127.0.0.1/all"
pool_size = 3
[keepstream.topics."shop.orders"]
steps = ["mask"]
[keepstream.topics."shop.orders".mapping]
id = "/order/no"
ignore = [{{source = "/type", equals = "heartbeat"}}]
[keepstream.topics.payments]
dlq_topic = "payments-dead"
[keepstream.topics.payments.postgres]
url = "{URL}"
[keepstream.topics.Refunds]
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable and no file of the machine's."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("KEEPSTREAM_", "PG"))]:
        monkeypatch.delenv(name)


def shown(*options: str) -> Result:
    return CliRunner().invoke(root, ["config", "show", *options])


def test_what_each_topic_sets_is_shown_and_no_secret() -> None:
    Path("keepstream.toml").write_text(FILE)
    printed = shown("--json")
    rows = [json.loads(line) for line in printed.stdout.splitlines()]
    found = {
        row["variable"]: (row["value"], row["origin"])
        for row in rows
        if row["variable"].upper().removeprefix("KEEPSTREAM_").startswith("TOPICS")
    }
    assert found == {
        "KEEPSTREAM_TOPICS__SHOP.ORDERS__MAPPING__ID": ("/order/no", "file"),
        "KEEPSTREAM_TOPICS__SHOP.ORDERS__MAPPING__IGNORE": ('[{"source": "/type", "equals": "heartbeat"}]', "file"),
        "KEEPSTREAM_TOPICS__SHOP.ORDERS__STEPS": ('["mask"]', "file"),
        "KEEPSTREAM_TOPICS__PAYMENTS__DLQ_TOPIC": ("payments-dead", "file"),
        "KEEPSTREAM_TOPICS__PAYMENTS__POSTGRES__URL": ("**********", "file"),
        "topics.Refunds": ("{}", "file"),
    }  # fmt: skip
    assert "s3cret" not in printed.output + shown("--explain").output


def test_users_and_conditions_are_shown_without_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTREAM_WEB__USERS", '{"ann": "scrypt$x"}')
    monkeypatch.setenv("KEEPSTREAM_MAPPING__IGNORE", '[{"source": "key", "present": true}]')
    found = {row["variable"]: row["value"] for row in map(json.loads, shown("--json").stdout.splitlines())}
    assert found["KEEPSTREAM_WEB__USERS"] == '{"ann": "**********"}'
    assert found["KEEPSTREAM_MAPPING__IGNORE"] == '[{"source": "key", "present": true}]'


def test_secrets_of_topics_are_kept_out_of_logs() -> None:
    Path("keepstream.toml").write_text(FILE)
    assert {URL, "s3cret"} <= {*secrets_of(Settings())}


def test_topics_are_variables_too_and_those_win_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("keepstream.toml").write_text('[keepstream.topics.orders]\ndlq_topic = "file"\nsteps = ["a"]\n')
    monkeypatch.setenv("KEEPSTREAM_TOPICS", '{"Refunds": {}, "orders": {"contract": "m:C"}}')
    monkeypatch.setenv("KEEPSTREAM_TOPICS__ORDERS__DLQ_TOPIC", "variable")
    monkeypatch.setenv("KEEPSTREAM_TOPICS__ORDERS__MAPPING__ID", "key")
    monkeypatch.setenv("KEEPSTREAM_TOPICS__SHOP.PAID", "{}")
    topics = Settings().topics
    assert {*topics} == {"Refunds", "orders", "shop.paid"}
    orders = topics["orders"]
    assert (orders.dlq_topic, orders.steps, orders.contract, orders.mapping.id) == ("variable", ("a",), "m:C", "key")
    names = [name for name in os.environ if name.startswith("KEEPSTREAM_TOPICS")]
    assert unread_variables(dict.fromkeys(names, "x")) == []


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("KEEPSTREAM_TOPICS", "orders", "KEEPSTREAM_TOPICS holds no JSON"),
        ("KEEPSTREAM_TOPICS__ORDERS", "x", "KEEPSTREAM_TOPICS__ORDERS: "),
        ("KEEPSTREAM_TOPICS__ORDERS__STEPS", "mask", "KEEPSTREAM_TOPICS__ORDERS__STEPS holds no JSON"),
        ("KEEPSTREAM_TOPICS__ORDERS__MAPPING", "x", "KEEPSTREAM_TOPICS__ORDERS__MAPPING holds no JSON"),
        ("KEEPSTREAM_TOPICS__ORDERS__MAPPING__IDD", "x", "KEEPSTREAM_TOPICS__ORDERS__MAPPING__IDD: Extra inputs"),
        ("KEEPSTREAM_TOPICS__ORDERS__DLQ_TOPIC", "no blanks", "KEEPSTREAM_TOPICS__ORDERS__DLQ_TOPIC: "),
        ("KEEPSTREAM_TOPICS__NO BLANKS", "{}", "KEEPSTREAM_TOPICS__NO BLANKS: "),
    ],
)  # fmt: skip
def test_a_wrong_variable_of_a_topic_is_named(
    name: str, value: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    done = shown()
    assert (done.exit_code, f"Error: {named}" in done.stderr) == (2, True), done.stderr


def test_a_variable_in_json_is_found_among_those_of_a_topic() -> None:
    assert not_json({"KEEPSTREAM_TOPICS__A__STEPS": '["x"]', "KEEPSTREAM_TOPICS__B__STEPS": "x"}) == (
        "KEEPSTREAM_TOPICS__B__STEPS"
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[keepstream.topics.orders]\ndlq_topic = 7", "topics.orders.dlq_topic: Input should be"),
        ('[keepstream.topics."shop.orders".mapping]\nidd = "x"', "topics.shop.orders.mapping.idd: Extra inputs"),
        ('[keepstream.topics."no blanks"]', "topics.no blanks: String should match pattern"),
        ('[keepstream]\ntopics = "x"', "topics: Input should be a valid dictionary (in keepstream.toml)"),
        ('[keepstream.topics.a]\n[keepstream.topics.b]\ndlq_topic = "a-dlq"', "topics.b.dlq_topic: a and b would"),
        ('[keepstream.topics.a]\ndlq_topic = "b"\n[keepstream.topics.b]', "topics.a.dlq_topic: b is consumed itself"),
        ("[keepstream.topics.'a.b']\n[keepstream.topics.a_b]", "topics.a_b.postgres.schema_name: a.b and a_b"),
        (
            '[keepstream.topics.a.postgres]\nurl = "postgresql://u:s3cret@db/x"',
            ("topics.a.postgres: sslmode=prefer would give the password to any server that answers in its place; add "
            "sslmode=verify-full and sslrootcert=FILE (or sslrootcert=system) to the URL, or consent with "
            "topics.a.postgres.allow_insecure_credentials=true (in"),
        ),
        ("[keepstream.topics.a]\n[keepstream.topics.A]", "topics.a: only its case differs from A"),
        ('[keepstream.topics.a]\n[keepstream.mapping]\nid = "key"', "KEEPSTREAM_MAPPING: beside topics each"),
        ('[keepstream.topics.a]\n[keepstream.kafka]\ntopic = "b"', "KEEPSTREAM_KAFKA__TOPIC: beside topics it"),
    ],
)  # fmt: skip
def test_a_wrong_setting_of_a_topic_is_named_by_its_place(text: str, named: str) -> None:
    Path("keepstream.toml").write_text(text)
    done = shown()
    assert (done.exit_code, f"Error: {named}" in done.stderr) == (2, True), done.stderr


def test_the_files_of_the_page_about_topics_are_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    topics = []
    for text in re.findall(r"^ *```toml\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE):
        written = re.sub(r"/run/secrets/\w+", str(tmp_path / "secret"), textwrap.dedent(text))
        Path("keepstream.toml").write_text(written)
        topics.append([(topic, view.postgres.schema_name) for topic, view in Settings().by_topic().items()])
    assert topics == [
        [("shop.orders", "keepstream_shop_orders"), ("payments", "ledger")],
        [("orders", None)],
        [("orders", "public"), ("payments", "keepstream_payments")],
    ]
