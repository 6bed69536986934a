"""Settings from the environment, and what is said about wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import BaseModel, ValidationError

from keepstream.app.cli.root import root
from keepstream.app.config.settings import Settings
from keepstream.app.worker.components import connection_policy, retry_policy


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable and no .env of the machine's."""
    import os

    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("KEEPSTREAM_")]:
        monkeypatch.delenv(name)


def leaves(model: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in type(model).model_fields:
        found = getattr(model, name)
        if isinstance(found, BaseModel):
            yield from leaves(found, (*path, name))
        else:
            yield (*path, name), found


def dig(model: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        model = getattr(model, name)
    return model


LEAVES = [
    path
    for path, _ in leaves(Settings(_env_file=None))
    if "security" not in path
    and path[-1] != "password_file"  # they need each other: test_security_settings.py
    and path[0] != "table"  # so do these: test_table_settings.py
]
OTHER: dict[tuple[str, ...], str] = {
    ("kafka", "bootstrap_servers"): "b:1", ("kafka", "topic"): "t", ("kafka", "dlq_topic"): "d",
    ("kafka", "group_id"): "g", ("kafka", "group_instance_id"): "i", ("kafka", "auto_offset_reset"): "latest",
    ("kafka", "on_gap"): "stop", ("kafka", "compression"): "gzip",
    ("kafka", "session_timeout_s"): "9", ("kafka", "heartbeat_interval_s"): "1", ("postgres", "url"): "postgresql://h/d",
    ("postgres", "schema_name"): "s", ("http", "host"): "::1", ("web", "host"): "::1",
    ("web", "public_url"): "https://c.example", ("web", "allow_replay"): "true", ("web", "token"): "t" * 16,
    ("web", "users"): '{"ann": "scrypt$x"}', ("web", "mask_fields"): '["card"]',
    ("web", "worker_urls"): '["http://w:9108/metrics"]',
    ("postgres", "synchronous_commit"): "false", ("http", "enabled"): "false", ("log", "level"): "debug",
    ("log", "format"): "json", ("log", "worker"): "1", ("traces", "enabled"): "true",
    ("contract",): "m:C", ("steps",): '["s"]', ("decode",): "gzip", ("mapping", "preset"): "dapr",
    ("mapping", "id"): "key",
    ("mapping", "timestamp"): "record",
    ("mapping", "timestamp_format"): "epoch_ms", ("mapping", "timestamp_zone"): "UTC",
    ("mapping", "correlation_id"): "header:c", ("mapping", "payload"): "value", ("mapping", "metadata"): "/meta",
    ("mapping", "ignore"): '[{"source": "key", "present": true}]', ("mapping", "tombstones"): "ignore",
    ("mapping", "tombstone_id"): "key", ("topics",): '{"orders": {}}',
}  # fmt: skip


@pytest.mark.parametrize("path", LEAVES, ids="__".join)
def test_each_setting_is_a_variable_named_by_its_path(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    default = dig(Settings(), path)
    number = "1048577" if "bytes" in path[-1] else "42"
    other = str(not default).lower() if isinstance(default, bool) else OTHER.get(path, number)
    monkeypatch.setenv("KEEPSTREAM_" + "__".join(path).upper(), other)
    assert dig(Settings(), path) != default


def test_a_variable_of_another_program_in_the_file_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OTHER=1\nKEEPSTREAM_KAFKA__TOPIC=orders\n")
    assert Settings().kafka.topic == "orders"


def test_the_file_is_heeded_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keepstream.toml").write_text(
        '[keepstream]\nsteps = ["mask"]\n[keepstream.kafka]\ntopic = "orders"\ngroup_id = "file"\n'
        "[keepstream.worker.store_retry]\nbase_s = 7\n"
    )
    (tmp_path / ".env").write_text("KEEPSTREAM_KAFKA__DLQ_TOPIC=dead\n")
    monkeypatch.setenv("KEEPSTREAM_KAFKA__GROUP_ID", "variable")
    settings = Settings()
    assert (settings.kafka.topic, settings.kafka.dlq_topic, settings.kafka.group_id) == ("orders", "dead", "variable")
    assert (settings.steps, settings.worker.store_retry.base_s) == (("mask",), 7)
    assert Settings(kafka={"topic": "given"}).kafka.topic == "given"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[keepstream", "keepstream.toml cannot be read: "),
        ("\xff", "keepstream.toml cannot be read: "),
        ('topic = "x"', "has topic: settings stand in [keepstream]"),
        ('[keepstream]\n[kafka]\ntopic = "x"', "has kafka: settings stand in [keepstream]"),
        ('keepstream = "x"', "settings stand in [keepstream]"),
        ('[keepstream]\ncontrct = "m:C"', "there is no setting keepstream.contrct"),
        ('[keepstream.kafka]\ntopik = "x"', "KEEPSTREAM_KAFKA__TOPIK: Extra inputs are not permitted"),
        ('[keepstream]\nkafka = "x"', "KEEPSTREAM_KAFKA: "),
        ("[keepstream.kafka]\ntopic = 7", "KEEPSTREAM_KAFKA__TOPIC: "),
    ],
)
def test_a_file_that_cannot_be_used_is_said_by_every_command(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "keepstream.toml").write_bytes(text.encode("latin-1"))
    result = CliRunner().invoke(root, ["config", "show"])
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr


def test_a_file_of_variables_that_is_not_utf_8_is_said_by_every_command(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"KEEPSTREAM_KAFKA__TOPIC=\xff\n")
    result = CliRunner().invoke(root, ["config", "show"])
    assert (result.exit_code, ".env is not UTF-8" in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"KAFKA__SESSION_TIMEOUT_S": "30"}, ["kafka", "request_timeout_s must be greater than session_timeout_s"]),
        ({"KAFKA__HEARTBEAT_INTERVAL_S": "4"}, ["heartbeat_interval_s must be at most a third of session_timeout_s"]),
        ({"KAFKA__TOPIC": "x", "KAFKA__DLQ_TOPIC": "x"}, ["dlq_topic must differ from topic"]),
        ({"KAFKA__TOPIC": "no spaces"}, ["kafka.topic"]),
        ({"KAFKA__AUTO_OFFSET_RESET": "none"}, ["kafka.auto_offset_reset"]),
        ({"KAFKA__NONSENSE": "1"}, ["kafka.nonsense"]),
        ({"POSTGRES__POOL_SIZE": "0"}, ["postgres.pool_size"]),
        ({"POSTGRES__SCHEMA_NAME": "x; drop"}, ["postgres.schema_name"]),
        ({"WORKER__BATCH_SIZE": "many"}, ["worker.batch_size"]),
        ({"WORKER__STORE_RETRY__BASE_S": "-1"}, ["worker.store_retry.base_s"]),
        ({"HTTP__PORT": "70000"}, ["http.port"]),
    ],
)
def test_a_wrong_setting_is_named(variables: dict[str, str], words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(f"KEEPSTREAM_{name}", text)
    with pytest.raises(ValidationError) as caught:
        Settings()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://bob:s3cret@localhost/x", ""])
def test_a_password_is_shown_nowhere(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTREAM_POSTGRES__URL", url)
    settings = Settings()
    for text in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.postgres)):
        assert "s3cret" not in text
    assert connection_policy(settings.postgres).url == url


def test_an_error_does_not_repeat_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTREAM_POSTGRES", '{"url": {"password": "s3cret"}}')
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "s3cret" not in str(caught.value)


def test_every_setting_says_what_it_does() -> None:
    def undescribed(model: type[BaseModel]) -> Iterator[str]:
        for name, field in model.model_fields.items():
            if not field.description:
                yield f"{model.__name__}.{name}"
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from undescribed(field.annotation)

    assert list(undescribed(Settings)) == []


def test_the_servers_timeout_ends_before_ours() -> None:
    settings = Settings()
    assert settings.postgres.lock_timeout_s < settings.postgres.statement_timeout_s
    assert settings.postgres.statement_timeout_s < retry_policy(settings.worker.store_retry).attempt_timeout_s
