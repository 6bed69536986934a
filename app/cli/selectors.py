"""The selector options: one language for every command that is about some dead letters."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from app.cli.failure import USAGE, CommandError
from processors.selection import Selection, SelectorError, condition_of, moment_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a command was told to work on. ``limit`` None: its default. ``resolved_too``: --all was given."""

    selection: Selection
    limit: int | None = None
    resolved_too: bool = False


_ALTERNATIVES = {
    "event_ids": ("--event-id", "TEXT", "Event id."),
    "keys": ("--key", "TEXT", "Key of the record."),
    "steps": ("--step", "STEP", "Step it died in: validate, store, metrics."),
    "reasons": ("--reason", "TEXT", "Reason, or exception class of letters that others wrote."),
    "verdicts": ("--verdict", "VERDICT", "Verdict: record or exhausted."),
    "sqlstates": ("--sqlstate", "CODE", "SQLSTATE, like 23514."),
}
_BY_TEXT = [
    click.option(option, name, multiple=True, metavar=metavar, help=f"{text} Repeatable.")
    for name, (option, metavar, text) in _ALTERNATIVES.items()
]
_BY_PLACE = [
    click.option("--since", metavar="TIME", help="Died at or after TIME: 2h, 7d (ago), or 2026-11-24T10:00:00Z."),
    click.option("--until", metavar="TIME", help="Died before TIME."),
    click.option("--partition", "partitions", multiple=True, type=click.IntRange(min=0), metavar="NUMBER",
                 help="Partition of the dead letter topic. Repeatable."),
    click.option("--from-offset", type=click.IntRange(min=0), metavar="OFFSET",
                 help="At or after this offset of the dead letter topic."),
    click.option("--where", multiple=True, metavar="PATH=VALUE",
                 help="Payload holds VALUE at a JSON path, like payload.order_id=4711. Repeatable: all must hold."),
    click.option("--limit", type=click.IntRange(min=1), metavar="COUNT", help="At most so many."),
]  # fmt: skip
_ALL = click.option("--all", "resolved_too", is_flag=True, help="Also those that are resolved: replayed, discarded.")


def selectors(*, resolved: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``[IDS]...`` and the selector options to a command, which gets them as one ``chosen: Chosen``.

    Different options must all hold; values of one repeated option are alternatives. ``resolved=False`` leaves out
    --all, for commands that take every letter anyway. A selector that cannot be understood ends with exit code 2.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_selection(**given: Any) -> Any:  # noqa: ANN401
            return command(chosen=_taken_from(given), **given)

        decorated: Callable[..., Any] = with_selection
        for add in reversed([*_BY_TEXT, *_BY_PLACE, *([_ALL] if resolved else [])]):
            decorated = add(decorated)
        return click.argument("ids", nargs=-1)(decorated)

    return decorate


def moment_given(option: str, text: str) -> datetime:
    """Read a TIME option; CommandError names the option."""
    try:
        return moment_of(text)
    except SelectorError as error:
        raise bad_selector(option, str(error)) from None


def bad_selector(option: str, why: str) -> CommandError:
    return CommandError("bad_selector", f"{option}: {why}", "`--help` describes the selectors", USAGE)


def _taken_from(given: dict[str, Any]) -> Chosen:
    since, until = (given.pop(name) for name in ("since", "until"))
    selection = Selection(
        ids=given.pop("ids"),
        since=since and moment_given("--since", since),
        until=until and moment_given("--until", until),
        partitions=given.pop("partitions"),
        from_offset=given.pop("from_offset"),
        where=tuple(map(_condition, given.pop("where"))),
        **{name: given.pop(name) for name in _ALTERNATIVES},
    )
    if selection.since and selection.until and selection.since >= selection.until:
        raise bad_selector("--until", "is not after --since")
    return Chosen(selection, given.pop("limit"), given.pop("resolved_too", False))


def _condition(text: str) -> tuple[str, str]:
    try:
        return condition_of(text)
    except SelectorError as error:
        raise bad_selector("--where", str(error)) from None
