"""Options that several commands share, and the sections of their help."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from keepstream.app.cli.types import COUNT, OFFSET, PARTITION
from keepstream.app.dlq.selectors import ALTERNATIVES, parse_query, parse_time_option

F = TypeVar("F", bound=Callable[..., Any])
time_option = functools.partial(
    click.option,
    metavar="TIME",
    callback=lambda _, option, text: None if text is None else parse_time_option(option.opts[0], text),
)
"""An option whose value is a time: 2h, 7d (ago) or RFC 3339. A malformed one ends with exit code 2."""


class SectionOption(click.Option):
    """An option that the help of a `SectionedCommand` lists under a heading of its own."""

    def __init__(self, *args: Any, section: str, **attributes: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **attributes)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help lists its options section by section, in their order; those without one are "Options"."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list of options per section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def option_of(section: str) -> Callable[..., Callable[[F], F]]:
    """Return ``click.option`` for the options of a section."""
    return functools.partial(click.option, cls=SectionOption, section=section)


_selector = option_of("Selectors")
_BY_TEXT = [
    _selector(option, name, multiple=True, metavar=metavar, help=f"{text} Repeatable.")
    for name, (option, metavar, text) in ALTERNATIVES.items()
]
_BY_RANGE = [
    _selector("--since", metavar="TIME", help="Failed at or after TIME: 2h, 7d (ago), or 2026-11-24T10:00:00Z."),
    _selector("--until", metavar="TIME", help="Failed before TIME."),
    _selector("--partition", "partitions", multiple=True, type=PARTITION, metavar="NUMBER",
                 help="Partition of the dead letter topic. Repeatable."),
    _selector("--from-offset", type=OFFSET, metavar="OFFSET",
                 help="At or after this offset of the dead letter topic."),
    _selector("--where", multiple=True, metavar="PATH=VALUE",
                 help="Payload holds VALUE at a JSON path, like payload.order_id=4711. Repeatable: all must hold."),
    _selector("--limit", type=COUNT, metavar="COUNT", help="Most dead letters."),
]  # fmt: skip
_RESOLVED = _selector(
    "--include-resolved", "resolved_too", is_flag=True, help="Resolved dead letters too: replayed, discarded."
)

_NAMES = ("ids", *ALTERNATIVES, "since", "until", "partitions", "from_offset", "where", "limit", "resolved_too")


def selectors(*, resolved: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``[IDS]...`` and the selector options to a command, which gets them as one ``chosen: DeadLetterQuery``.

    Different options must all hold; values of one repeated option are alternatives. ``resolved=False`` leaves out
    --include-resolved, for commands that take resolved dead letters anyway. An invalid selector ends with exit code 2.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_selection(**given: Any) -> Any:  # noqa: ANN401
            chosen = parse_query({name: given.pop(name) for name in _NAMES if name in given})
            return command(chosen=chosen, **given)

        decorated: Callable[..., Any] = with_selection
        for add in reversed([*_BY_TEXT, *_BY_RANGE, *([_RESOLVED] if resolved else [])]):
            decorated = add(decorated)
        return click.argument("ids", nargs=-1)(decorated)

    return decorate
