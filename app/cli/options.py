"""The selector options, the same for every command on dead letters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from keepstream.app.cli.types import COUNT, OFFSET, PARTITION
from keepstream.app.dlq.selectors import ALTERNATIVES, parse_query, parse_time_option

time_option = functools.partial(
    click.option,
    metavar="TIME",
    callback=lambda _, option, text: None if text is None else parse_time_option(option.opts[0], text),
)
"""An option whose value is a time: 2h, 7d (ago) or RFC 3339. A malformed one ends with exit code 2."""

_BY_TEXT = [
    click.option(option, name, multiple=True, metavar=metavar, help=f"{text} Repeatable.")
    for name, (option, metavar, text) in ALTERNATIVES.items()
]
_BY_RANGE = [
    click.option("--since", metavar="TIME", help="Failed at or after TIME: 2h, 7d (ago), or 2026-11-24T10:00:00Z."),
    click.option("--until", metavar="TIME", help="Failed before TIME."),
    click.option("--partition", "partitions", multiple=True, type=PARTITION, metavar="NUMBER",
                 help="Partition of the dead letter topic. Repeatable."),
    click.option("--from-offset", type=OFFSET, metavar="OFFSET",
                 help="At or after this offset of the dead letter topic."),
    click.option("--where", multiple=True, metavar="PATH=VALUE",
                 help="Payload holds VALUE at a JSON path, like payload.order_id=4711. Repeatable: all must hold."),
    click.option("--limit", type=COUNT, metavar="COUNT", help="Most dead letters."),
]  # fmt: skip
_RESOLVED = click.option(
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
