"""Command lines that no one means: each option of each command with values that are hard to parse."""

from __future__ import annotations

from collections.abc import Iterator

import click
from click.testing import CliRunner, Result
from hypothesis import strategies as st

from keepstream.app.cli.root import root

ENDLESS = {"worker", "web", "demo", "--watch", "--follow", "-f"}
"""Commands and options that run until a signal."""
KNOWN_EXIT_CODES = {0, 1, 2, 3, 4, 5}
ODD = [
    "", " ", "0", "-1", "-0", "1_000", "\N{ARABIC-INDIC DIGIT THREE}", "99999999999999999999", "9" * 5000, "1e400",
    "nan", "inf", "0001-01-01", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "99999999999999d", "2h", "now",
    "\0", "a\0b=1", "\udcff", "\udcff=1", "\x1b[2J", "=", "a=b", "a.b.c=[", "a=" + "[" * 2000, "--", "-", "{", "%s",
    "*", "x" * 5000, "events-0-1", "events-0-99999999999999999999", "~1-0-0", ".", "../..", "/dev/null", "/nowhere/x",
]  # fmt: skip
odd_values = st.sampled_from(ODD) | st.text(max_size=20)


def commands(group: click.Group = root, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that ends by itself."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        elif name not in ENDLESS:
            yield (*path, name)


def command_at(path: tuple[str, ...]) -> click.Command:
    command: click.Command = root
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return command


@st.composite
def command_lines(draw: st.DrawFn, path: tuple[str, ...]) -> list[str]:
    """Return the words, some of the options with odd values, and odd arguments."""
    words = [*path]
    for parameter in draw(st.lists(st.sampled_from([None, *command_at(path).params]), max_size=4)):
        if not isinstance(parameter, click.Option):
            words.append(draw(odd_values))
        elif parameter.opts[0] not in ENDLESS:
            words += [parameter.opts[0]] if parameter.is_flag else [parameter.opts[0], draw(odd_values)]
    return words


def run(words: list[str]) -> Result:
    """Run a command line in this process and check how it ended."""
    result = CliRunner().invoke(root, words, input="")
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)
    assert result.exit_code in KNOWN_EXIT_CODES, words
    return result
