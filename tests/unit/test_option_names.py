"""One idea has one option name in every command, and the help of a command with many options is in sections."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

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
