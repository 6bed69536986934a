"""The option --topic: which topic a command works with, where the settings name several."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from keepstream.app.cli.types import Topic
from keepstream.app.errors import USAGE, KeepstreamError

if TYPE_CHECKING:
    from keepstream.app.config.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])
_CHOSEN = "keepstream.topic"
"""Where click's context keeps the name: `load_services` reads it, so no command passes it on."""

SEPARATE_TOPICS = (
    "give each topic a schema of its own: KEEPSTREAM_POSTGRES__SCHEMA_NAME, or of several topics schema_name in "
    "topics.NAME.postgres (docs/topics.md); or, if it is one stream under two names, consent with "
    "KEEPSTREAM_POSTGRES__ALLOW_OTHER_TOPICS=true"
)
"""What to do about tables that two topics share."""


def _remember(context: click.Context, _option: click.Parameter, name: str | None) -> None:
    context.meta[_CHOSEN] = name


def _option(text: str) -> Callable[[F], F]:
    return click.option("--topic", type=Topic(), metavar="NAME", expose_value=False, callback=_remember, help=text)


topic_option = _option("Which topic, where the settings name several.")
only_topic_option = _option("Only this topic, where the settings name several.")
"""For commands that work with all topics."""


def chosen_topic() -> str | None:
    """Return what --topic names, None without it."""
    context = click.get_current_context(silent=True)
    return context.meta.get(_CHOSEN) if context else None


def one_topic(settings: Settings, chosen: str | None = None) -> Settings:
    """Return the settings of the topic chosen, or of the only one. Raises KeepstreamError (2) without that one."""
    views, chosen = settings.by_topic(), chosen or chosen_topic()
    known = ", ".join(views)
    if chosen is None and len(views) > 1:
        raise KeepstreamError("bad_usage", f"the settings name several topics: {known}", "choose with --topic", USAGE)
    if chosen is not None and chosen not in views:
        message = f"--topic: the settings name no topic {chosen!r}, but {known}"
        raise KeepstreamError("bad_usage", message, "docs/topics.md describes how several are named", USAGE)
    return views[chosen or known]


def prefix_of(topic: str | None) -> str:
    """Return how a line begins that is about one topic of several."""
    return f"{topic}: " if topic else ""
