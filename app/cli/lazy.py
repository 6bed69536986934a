"""A command group that imports a command's module only when that command runs: `--help` answers at once."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

from keepstream.app.cli.failure import CommandError
from keepstream.app.errors import Trouble

if TYPE_CHECKING:
    from collections.abc import Mapping


class LazyGroup(click.Group):
    """``lazy`` maps a name to (module, attribute, short help); the help stands there so that none is imported."""

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str, str]], **options: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **options)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self._lazy:
            return None
        module, attribute, _ = self._lazy[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """Run the command; what the rooms below could not do becomes an exit code."""
        try:
            return super().invoke(ctx)
        except Trouble as trouble:
            raise CommandError.of(trouble) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in self._lazy.items()])
