"""The command line takes no secrets."""

from __future__ import annotations

from collections.abc import Iterator

import click

from keepstream.app.cli.root import root


def test_secrets_of_the_command_line_do_not_exist() -> None:
    """No option of any command takes a secret: argv is readable by everybody on the machine."""

    def options(command: click.Command, context: click.Context) -> Iterator[str]:
        for parameter in command.params:
            yield parameter.name or ""
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner
                yield from options(inner, click.Context(inner, parent=context))

    names = set(options(root, click.Context(root)))
    assert len(names) > 20
    assert [
        n for n in names if any(word in n for word in ("password", "secret", "token", "url")) and n != "hash_password"
    ] == []
