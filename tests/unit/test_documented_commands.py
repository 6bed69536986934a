"""Every command in a ``sh`` block of the documentation is parsed as the program would parse it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from keepstream.app.cli.root import root
from tests.unit.test_documentation import CHECKOUT

PAGES = [
    CHECKOUT / "README.md",
    *sorted((CHECKOUT / "docs").rglob("*.md")),
    *sorted((CHECKOUT / "deploy").rglob("*.md")),
]
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
_ENDS = {"|", "||", "&&", ";", "&"}
_ASSIGNMENT = re.compile(r"[A-Z_]+=")


def commands_of(text: str) -> Iterator[list[str]]:
    """Yield each simple command of the ``sh`` blocks, without comments and redirected output."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        words: list[str] = []
        for word in _words(re.sub(r" > \S+", "", block.replace("\\\n", " "))):
            if word not in _ENDS:
                words.append(word)
            elif words:
                yield words
                words = []


def _words(script: str) -> Iterator[str]:
    """Yield the words of a script, and ``;`` at the end of each line that closes its quotes."""
    open_line = ""
    for line in script.splitlines():
        open_line += line + "\n"
        lexer = shlex.shlex(open_line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        try:
            found = [*lexer]
        except ValueError:  # a quote goes on in the next line
            continue
        yield from [*found, ";"]
        open_line = ""


FOUND = [
    pytest.param(words, id=f"{page.name}: {' '.join(words)[:80]}")
    for page in PAGES
    for words in commands_of(page.read_text(encoding="utf-8"))
]


def parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Parse as the program would, group by group; raises click.UsageError. A file need not be there."""
    try:
        context = command.make_context(command.name, [*words], parent=parent)
    except click.exceptions.Exit:  # --help, --version
        return
    except click.BadParameter as error:
        if not re.search("does not exist|No such file", error.message):
            raise
        return
    if isinstance(command, click.Group):
        _, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        parse(found, rest, context)


@pytest.mark.parametrize("words", FOUND)
def test_a_documented_command_exists_with_its_options(words: list[str]) -> None:
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    if not words:
        return
    program, *rest = words
    if Path(program).name == "keepstream" and rest:
        parse(root, rest)
    elif program == "make":
        assert {word for word in rest if "=" not in word} <= TARGETS


def test_a_command_that_does_not_exist_is_noticed() -> None:
    for line in ("keepstream db prune --nonsense", "keepstream db nonsense", "keepstream worker --workers many"):
        (words,) = commands_of(f"```sh\n{line}  # why\n```\n")
        with pytest.raises(click.UsageError):
            parse(root, words[1:])


def test_the_documentation_has_commands() -> None:
    assert len(FOUND) > 30
