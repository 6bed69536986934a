"""``--config FILE``: the settings file of one command and of the processes that it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from keepstream.app.cli.doctor import _settings
from keepstream.app.cli.root import root
from keepstream.app.config.settings import Settings
from keepstream.app.config.variables import environment, unread_variables
from keepstream.app.connect.services import Services
from keepstream.app.process.supervisor import start_worker


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("KEEPSTREAM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KEEPSTREAM_CONFIG", "")  # restored after the test, whatever a command sets
    (tmp_path / "keepstream.toml").write_text('[keepstream.kafka]\ntopic = "here"\ngroup_id = "here"\n')
    (tmp_path / "orders.toml").write_text('[keepstream.kafka]\ntopic = "orders"\ndlq_topic = "file"\n')


def run(*words: str) -> Result:
    return CliRunner().invoke(root, words)


def shown(result: Result) -> dict[str, tuple[str, str]]:
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return {row["variable"].removeprefix("KEEPSTREAM_KAFKA__"): (row["value"], row["origin"]) for row in rows}


def test_the_named_file_is_read_instead_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTREAM_KAFKA__DLQ_TOPIC", "variable")
    result = run("--config", "orders.toml", "config", "show", "--json")
    found = shown(result)
    assert found["TOPIC"] == ("orders", "file")
    assert found["DLQ_TOPIC"] == ("variable", "environment")
    assert found["GROUP_ID"] == ("keepstream", "default")
    assert f"settings file: {Path('orders.toml').absolute()}\n" in result.stderr


def test_without_it_the_file_of_the_directory_is_read() -> None:
    result = run("config", "show", "--json")
    assert shown(result)["TOPIC"] == ("here", "file")
    assert "settings file: keepstream.toml\n" in result.stderr
    Path("keepstream.toml").unlink()
    result = run("config", "show", "--json")
    assert shown(result)["TOPIC"] == ("events", "default")
    assert "settings file: none (no keepstream.toml in this directory, and no --config)" in result.stderr


@pytest.mark.parametrize("command", [["config", "show"], ["worker"], ["doctor"], ["events", "list"], ["demo"]])
@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("absent.toml", None, "cannot be read: No such file or directory"),
        ("", None, "cannot be read: Is a directory"),
        ("bad.toml", "[keepstream", "cannot be read: "),
        ("bad.toml", '[kafka]\ntopic = "x"', "has kafka: settings stand in [keepstream]"),
        ("bad.toml", '[keepstream]\nkafka = "x"', "KEEPSTREAM_KAFKA: "),
        ("bad.toml", "[keepstream.kafka]\ntopic = 7", "KEEPSTREAM_KAFKA__TOPIC: "),
        ("bad.toml", '[keepstream]\ncontrct = "m:C"', "there is no setting keepstream.contrct"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_by_every_command(
    command: list[str], name: str, content: str | None, why: str
) -> None:
    if content is not None:
        Path(name).write_text(content)
    result = run("--config", name, *command)
    assert result.exit_code == 2
    assert str(Path(name).absolute()) in result.stderr
    assert why in result.stderr


def test_a_wrong_value_of_the_environment_is_not_said_to_be_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTREAM_KAFKA__TOPIC", "no blanks")
    result = run("--config", "orders.toml", "config", "show")
    assert (result.exit_code, "orders.toml" in result.stderr) == (2, False)


def test_doctor_says_which_file_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTREAM_CONFIG", "orders.toml")
    (finding,) = _settings(Services(Settings(_env_file=None)))
    assert (finding.state, finding.seen) == ("ok", "valid; settings file: orders.toml")


def test_the_option_behind_the_command_is_refused_with_its_place() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "keepstream.app", "worker", "--config", "orders.toml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "It stands before the command: keepstream --config ..." in done.stderr


def test_the_variable_is_no_unread_one_but_in_the_file_of_variables_it_is() -> None:
    assert unread_variables({"KEEPSTREAM_CONFIG": "x"}) == []
    os.environ.pop("KEEPSTREAM_CONFIG")
    Path(".env").write_text("KEEPSTREAM_CONFIG=orders.toml\n")
    assert "KEEPSTREAM_CONFIG is set, but is no setting" in unread_variables(environment())[0]


def test_the_processes_of_a_command_read_the_same_file() -> None:
    """A worker that `--workers` starts refuses what its parent's file holds, wherever that file lies."""
    run("--config", "orders.toml", "config", "show")
    Path("orders.toml").write_text("[keepstream.nonsense]\n")
    child = start_worker({"KEEPSTREAM_WORKER__PROCESSES": "1"})
    assert child.wait(60) == 2
