"""Command lines that no one means: each option of each command with values that are hard to parse.

``python -m tests.odd_arguments EXAMPLES`` runs so many of each command on the servers that the environment names.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import click
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from keepstream.app.cli.root import root

ENDLESS = {"worker", "web", "demo", "--watch", "--follow", "-f", "--wait", "--interval"}
"""Commands and options that run until a signal, or for hours with an odd value."""
QUICK = 3
"""Examples of each command in the short form, which is the same each time."""
KNOWN_EXIT_CODES = {0, 1, 2, 3, 4, 5}
ODD = [
    "", " ", "0", "-1", "-0", "1_000", "\N{ARABIC-INDIC DIGIT THREE}", "99999999999999999999", "9" * 5000, "1e400",
    "nan", "inf", "0001-01-01", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "99999999999999d", "2h", "now",
    "\0", "a\0b=1", "\udcff", "\udcff=1", "\x1b[2J", "=", "a=b", "a.b.c=[", "a=" + "[" * 2000, "--", "-", "{", "%s",
    "*", "x" * 5000, "events-0-1", "events-0-99999999999999999999", "~1-0-0", ".", "../..", "/dev/null", "/nowhere/x",
]  # fmt: skip
ODD_INPUTS = [
    b"", b"x" * 1_100_000 + b"\n", b"\xff\0\n", b"{}\n[]\n", b"[" * 5000 + b"\n", b'{"event_id":"a","payload":{}}\r\n',
    b'{"topic":"t","partition":0,"offset":0,"timestamp":0,"key":null,"value":"eA==","headers":[["\\u0000",null]]}\n',
    b'{"topic":"t","partition":0,"offset":0,"timestamp":0,"key":null,"value":null,"headers":[["\\udcff",null]]}\n',
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
            reads_a_file = parameter is not None and isinstance(parameter.type, click.File)
            words.append(draw(st.just("-") | odd_values if reads_a_file else odd_values))
        elif parameter.opts[0] not in ENDLESS:
            words += [parameter.opts[0]] if parameter.is_flag else [parameter.opts[0], draw(odd_values)]
    return words


def run(words: list[str], stdin: bytes = b"") -> Result:
    """Run a command line in this process and check how it ended."""
    result = CliRunner().invoke(root, words, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)
    assert result.exit_code in KNOWN_EXIT_CODES, words
    return result


def run_all(examples: int) -> None:
    """Run odd command lines of every command on real servers; print each before, for a signal leaves nothing else."""
    for path in commands():

        @given(words=command_lines(path), stdin=st.sampled_from(ODD_INPUTS))
        @settings(max_examples=examples, deadline=None, database=None, derandomize=examples <= QUICK)
        def run_one(words: list[str], stdin: bytes) -> None:
            started = time.monotonic()
            print(*map(ascii, words), ascii(stdin[:80]), flush=True)
            code = run(words, stdin).exit_code
            print(f"  ended with {code} after {time.monotonic() - started:.1f} s", flush=True)

        run_one()


if __name__ == "__main__":
    run_all(int(sys.argv[1]))
