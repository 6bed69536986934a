"""What docs/terminal.md says of completion and colour."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from keepstream.app.cli.root import root
from keepstream.app.cli.tables import table_console


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script(shell: str) -> None:
    done = CliRunner().invoke(root, prog_name="keepstream", env={"_KEEPSTREAM_COMPLETE": f"{shell}_source"})
    assert (done.exit_code, "_keepstream_completion" in done.stdout) == (0, True), done.output


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("keepstream dlq re", "replay"), ("keepstream audit --de", "--deep"), ("keepstream wo", "worker")],
)
def test_commands_and_options_are_completed(typed: str, offered: str) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = CliRunner().invoke(root, prog_name="keepstream", env={"_KEEPSTREAM_COMPLETE": "bash_complete", **words})
    assert done.stdout == f"plain,{offered}\n"


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ({"FORCE_COLOR": "1", "TERM": "xterm"} | variables).items():
        monkeypatch.setenv(name, value)
    console = table_console()
    with console.capture() as said:
        console.print("PostgreSQL missing", style="red")
    assert "\x1b[31m" not in said.get()


def test_colour_where_a_terminal_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above can fail."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    console = table_console()
    with console.capture() as said:
        console.print("PostgreSQL missing", style="red")
    assert "\x1b[31m" in said.get()
