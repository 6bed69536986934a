"""Parses selectors of dead letters and options of a replay: those of a command, the query of a URL."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from keepstream.app.errors import USAGE, KeepstreamError
from keepstream.processors.replay.selection import Selection, SelectorError, parse_condition, parse_time
from keepstream.schemas.replay import PARKING_SUFFIX, ReplayOptions

T = TypeVar("T")
ALTERNATIVES = {
    "event_ids": ("--event-id", "TEXT", "Event id."),
    "keys": ("--key", "TEXT", "Key of the record."),
    "steps": ("--step", "STEP", "Step that failed: validate, store, metrics."),
    "reasons": ("--reason", "TEXT", "Reason, or exception class in dead letters of other systems."),
    "verdicts": ("--verdict", "VERDICT", "Verdict: record or exhausted."),
    "sqlstates": ("--sqlstate", "CODE", "SQLSTATE, like 23514."),
    "origins": ("--origin", "TOPIC", "Topic that the record came from."),
    "consumer_groups": ("--consumer-group", "TEXT", "Consumer group that failed, in dead letters of other systems."),
}
"""Field of `Selection` -> option, metavar, help. Values of one are alternatives."""


@dataclass(frozen=True, slots=True)
class DeadLetterQuery:
    """A selection with its limit. ``limit`` None: the default. ``resolved_too``: --include-resolved was given."""

    selection: Selection
    limit: int | None = None
    resolved_too: bool = False


def parse_query(given: Mapping[str, Any]) -> DeadLetterQuery:
    """Parse options: times and conditions are texts, repeatable ones tuples. `KeepstreamError` names the wrong one.

    An empty text is wrong: an unset variable in a script must not select everything.
    """
    since, until = given.get("since"), given.get("until")
    for name, option in (("ids", "ID"), *((name, option) for name, (option, *_) in ALTERNATIVES.items())):
        if "" in given.get(name, ()):
            raise bad_selector(option, "is empty")
    selection = Selection(
        ids=given.get("ids", ()),
        since=None if since is None else parse_time_option("--since", since),
        until=None if until is None else parse_time_option("--until", until),
        partitions=given.get("partitions", ()),
        from_offset=given.get("from_offset"),
        where=tuple(_parsed("--where", parse_condition, text) for text in given.get("where", ())),
        **{name: given.get(name, ()) for name in ALTERNATIVES},
    )
    if selection.since and selection.until and selection.since >= selection.until:
        raise bad_selector("--until", "is not after --since")
    return DeadLetterQuery(selection, given.get("limit"), given.get("resolved_too", False))


def parse_time_option(option: str, text: str) -> datetime:
    """Parse a TIME. Raises `KeepstreamError`, which names the option."""
    return _parsed(option, parse_time, text)


def bad_selector(option: str, why: str) -> KeepstreamError:
    return KeepstreamError("bad_selector", f"{option}: {why}", "`--help` describes the selectors", USAGE)


def _parsed(option: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except SelectorError as error:
        raise bad_selector(option, str(error)) from None


def options_from(
    dlq_topic: str,
    to_topic: str | None,
    changes: Iterable[str],
    rate: str | None,
    **more: Any,  # noqa: ANN401
) -> ReplayOptions:
    """Parse replay options. `KeepstreamError` names the option that is malformed."""
    try:
        pairs = tuple(parse_condition(change) for change in changes)
        per_s = None if rate is None else float(rate.removesuffix("/s"))
    except SelectorError as error:
        raise KeepstreamError("bad_option", f"--set: {error}", exit_code=USAGE) from None
    except ValueError:
        raise KeepstreamError("bad_option", f"--rate: {rate!r} is not a rate like 500/s", exit_code=USAGE) from None
    if to_topic in (dlq_topic, dlq_topic + PARKING_SUFFIX):
        raise KeepstreamError("bad_option", f"--to-topic: {to_topic} holds dead letters itself", exit_code=USAGE)
    if per_s is not None and not 0 < per_s < math.inf:
        raise KeepstreamError("bad_option", "--rate must be more than 0", exit_code=USAGE)
    return ReplayOptions(to_topic, changes=pairs, rate=per_s, parking_topic=dlq_topic + PARKING_SUFFIX, **more)
