"""One idea has one option name in every command, and the help of a command with many options is in sections."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from tests.odd_arguments import command_at, commands


def options() -> Iterator[tuple[str, click.Option]]:
    for path in commands():
        for parameter in command_at(path).params:
            if isinstance(parameter, click.Option):
                yield " ".join(path), parameter


@pytest.mark.parametrize(
    ("metavar", "names"), [("TIME", {"--since", "--until"}), ("OFFSET", {"--from-offset", "--to-offset"})]
)
def test_a_range_of_times_or_offsets_has_the_same_two_names_everywhere(metavar: str, names: set[str]) -> None:
    found = [(path, option.opts) for path, option in options() if option.metavar == metavar]
    assert len(found) > 3
    assert [(path, opts) for path, opts in found if len(opts) != 1 or opts[0] not in names] == []


def test_all_does_not_mean_resolved_ones_too() -> None:
    named = {(path, option.opts[0]) for path, option in options() if option.name == "resolved_too"}
    assert named == {(f"dlq {name}", "--include-resolved") for name in ("list", "stats", "replay")}


SECTIONS = {
    "Selectors": {"--event-id", "--since", "--until", "--where", "--limit", "--include-resolved"},
    "What is sent": {"--set", "--edit"},
    "Where and how fast": {"--to-topic", "--same-partition", "--max-replays", "--rate"},
    "Before and after": {"--dry-run", "--yes", "--resume", "--wait", "--wait-timeout"},
    "Options": {"--json", "--help"},
}


def test_the_help_of_a_replay_is_in_sections_and_leaves_no_option_out() -> None:
    command = command_at(("dlq", "replay"))
    printed = CliRunner().invoke(command, ["--help"]).output
    found = re.findall(r"^(\S.*):\n((?:  .*\n)+)", printed, re.MULTILINE)
    sections = {title: set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.MULTILINE)) for title, text in found}
    assert [*sections] == [*SECTIONS]
    assert [title for title, names in SECTIONS.items() if not names <= sections[title]] == []
    every = [parameter.opts[-1] for parameter in command.params if isinstance(parameter, click.Option)]
    assert sorted(name for names in sections.values() for name in names) == sorted([*every, "--help"])


@pytest.mark.parametrize("name", ["list", "stats", "export"])
def test_other_commands_have_their_selectors_in_a_section(name: str) -> None:
    printed = CliRunner().invoke(command_at(("dlq", name)), ["--help"]).output
    assert printed.index("\nSelectors:\n") < printed.index("--since") < printed.index("\nOptions:\n")
