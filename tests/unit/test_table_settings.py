"""The settings of a custom table: what they accept, and what is said about wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from keepstream.app.cli.root import root
from keepstream.app.config.settings import Settings
from keepstream.app.config.table import TableSettings
from keepstream.sinks.postgres.tables.definition import Source

ORDERS: dict[str, Any] = {"name": "shop.orders", "columns": {"order_no": "/order/no", "shop": "metadata:/a~1b"}}


def test_without_a_name_there_is_no_table() -> None:
    assert TableSettings().definition() is None
    assert Settings(_env_file=None).table == TableSettings()


def test_the_columns_are_compiled_and_the_events_id_is_added() -> None:
    definition = TableSettings(**ORDERS, key=("event_id", "shop")).definition()
    assert definition is not None
    assert (definition.schema, definition.name, definition.written) == ("shop", "orders", "shop.orders")
    assert definition.columns == {
        "event_id": Source("event_id", (), "event_id"),
        "order_no": Source("payload", ("order", "no"), "/order/no"),
        "shop": Source("metadata", ("a/b",), "metadata:/a~1b"),
    }
    assert definition.key == {"event_id", "shop"}
    assert [source.may_be_absent for source in definition.columns.values()] == [False, True, True]


def test_a_column_of_another_name_may_take_the_events_id() -> None:
    definition = TableSettings(name="orders", columns={"ref": "event_id", "at": "created_at"}).definition()
    assert definition is not None
    assert (definition.schema, definition.id_column, list(definition.columns)) == (None, "ref", ["ref", "at"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": None}, "name: is required, for it is the table"),
        ({"name": ""}, "a name in PostgreSQL has 1 to 63 bytes"),
        ({"name": "a.b.c"}, "write table or schema.table"),
        ({"name": ".orders"}, "a name in PostgreSQL has 1 to 63 bytes"),
        ({"name": "é" * 32}, "a name in PostgreSQL has 1 to 63 bytes"),
        ({"columns": {}}, "columns: name at least one"),
        ({"columns": {"a": "order/no"}}, "'order/no' is no source of a column: write a path into the payload"),
        ({"columns": {"a": "header:x"}}, "'header:x' is no source of a column"),
        ({"columns": {"a": "/"}}, "is a member without a name"),
        ({"columns": {"a": "/a\0"}}, "has a NUL character"),
        ({"columns": {"a\0": "/a"}}, "a name in PostgreSQL has 1 to 63 bytes"),
        ({"columns": {"a": "event_id", "b": "event_id"}}, "columns: a and b both take event_id"),
        ({"columns": {"event_id": "/id"}}, "columns.event_id: takes /id, so no column takes the event's id"),
        ({"key": ["order_no"]}, "key: must have event_id, the column of the event's id"),
        ({"key": ["event_id", "tenant"]}, "key: tenant is none of the columns"),
        ({"base64": ["photo"]}, "base64: photo is no column with a path as its source"),
        ({"base64": ["event_id"]}, "base64: event_id is no column with a path as its source"),
        ({"colums": {}}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_setting_says_what_to_write(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TableSettings(**(ORDERS | changes))
    assert words in str(caught.value)


def test_a_wrong_column_is_named_by_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("keepstream.toml").write_text('[keepstream.table]\nname = "orders"\ncolumns = { order_no = "order/no" }\n')
    result = CliRunner().invoke(root, ["tables", "plan"])
    assert result.exit_code == 2
    assert "KEEPSTREAM_TABLE__COLUMNS__ORDER_NO: 'order/no' is no source of a column" in result.stderr


def test_each_is_a_variable_and_each_topic_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEEPSTREAM_TABLE__NAME", "orders")
    monkeypatch.setenv("KEEPSTREAM_TABLE__COLUMNS", json.dumps({"ref": "event_id", "photo": "/photo"}))
    monkeypatch.setenv("KEEPSTREAM_TABLE__KEY", '["ref"]')
    monkeypatch.setenv("KEEPSTREAM_TABLE__BASE64", '["photo"]')
    found = Settings().table
    assert (found.name, found.columns["photo"], found.key, found.base64) == ("orders", "/photo", ("ref",), ("photo",))


def test_each_topic_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("keepstream.toml").write_text(
        '[keepstream.topics."shop.orders".table]\nname = "orders"\ncolumns = { no = "/no" }\n'
        "[keepstream.topics.sales]\n"
    )
    views = Settings().by_topic()
    assert (views["shop.orders"].table.name, views["sales"].table.name) == ("orders", None)
    Path("keepstream.toml").write_text(
        '[keepstream.topics.orders.table]\nname = "shop.orders"\ncolumns = { no = "/no" }\n'
        '[keepstream.topics.sales]\npostgres.schema_name = "shop"\n'
        'table = { name = "orders", columns = { no = "/no" } }\n'
    )
    with pytest.raises(
        ValidationError, match=r"sales\.table\.name: orders and sales would share the table shop\.orders at"
    ):
        Settings()
    with pytest.raises(ValidationError, match="KEEPSTREAM_TABLE: beside topics each has its own"):
        Settings(table={"name": "orders", "columns": {"no": "/no"}})
