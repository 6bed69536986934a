"""Variables that look like settings and are none are named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from keepstream.app.cli.config import show
from keepstream.app.cli.doctor import _settings
from keepstream.app.config.settings import Settings
from keepstream.app.config.variables import environment, unread_variables, variables
from keepstream.app.connect.services import Services
from keepstream.app.telemetry.logging import warn_of_unread_variables

MISSPELT = "KEEPSTREAM_KAFKA_BOOTSTRAP_SERVERS"
SENTENCE = f"{MISSPELT} is set, but is no setting; did you mean KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS?"


@pytest.fixture(autouse=True)
def only_one_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("KEEPSTREAM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(MISSPELT, "kafka:9092")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "x") for name, _ in variables()), ("keepstream_kafka__topic", "x"), ("PATH", "/bin"),
        ("KEEPSTREAM_SERVICE_HOST", "10.0.0.1"), ("KEEPSTREAM_SERVICE_PORT_HTTP", "80"),
        ("KEEPSTREAM_WEB__USERS__ann", "x"),
        ("KEEPSTREAM_WORKER_PORT", "tcp://10.0.0.1:9108"), ("KEEPSTREAM_WORKER_PORT_9108_TCP_ADDR", "10.0.0.1"),
    ],
)  # fmt: skip
def test_settings_and_variables_of_kubernetes_are_not_named(name: str, value: str) -> None:
    assert unread_variables({name: value}) == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("KEEPSTREAM_HTTP_PORT", "KEEPSTREAM_HTTP__PORT"), ("KEEPSTREAM_KAFKA__TOPICS", "KEEPSTREAM_KAFKA__TOPIC"),
        ("KEEPSTREAM_NONSENSE", None),
    ],
)  # fmt: skip
def test_a_variable_that_is_no_setting_is_named_with_what_it_resembles(name: str, meant: str | None) -> None:
    hint = f"; did you mean {meant}?" if meant else ""
    assert unread_variables({name: "9999"}) == [f"{name} is set, but is no setting{hint}"]


def test_a_misspelt_variable_in_the_file_is_found() -> None:
    Path(".env").write_text("KEEPSTREAM_KAFKA_TOPIC=x\nOTHER=1\n")
    assert len(unread_variables(environment())) == 2


def test_config_doctor_and_worker_name_it(caplog: pytest.LogCaptureFixture) -> None:
    assert f"warning: {SENTENCE}" in CliRunner().invoke(show).stderr
    found = [finding for finding in _settings(Services(Settings(_env_file=None))) if finding.state == "warn"]
    assert [finding.seen for finding in found] == [SENTENCE]
    warn_of_unread_variables()
    assert [record.getMessage() for record in caplog.records] == [SENTENCE]
