"""Parses the selectors in a URL. Names, meaning and errors are those of the command line."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from keepstream.app.dlq.page import Cursor
from keepstream.app.dlq.selectors import ALTERNATIVES, DeadLetterQuery, bad_selector, parse_query
from keepstream.app.web.masking import Mask
from keepstream.schemas.record import parse_record_id
from keepstream.sinks.postgres.dead_letters import DeadLetterKey

Pair = tuple[str, str]
REPEATABLE = {"id": "ids", **{option[2:]: name for name, (option, *_) in ALTERNATIVES.items()}, "where": "where"}
"""Parameter -> what `parse_query` calls it."""
SINGLE = ("since", "until", "from-offset", "limit", "include-resolved")
NAMES = (*REPEATABLE, "partition", *SINGLE)
MAX_PAIRS, MAX_VALUE_CHARS = 200, 1024
_MAX_OFFSET, _MAX_INT32 = 2**62, 2**31 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOPIC_ONLY = "~topic"


def link_to(topic: str, path: str, given: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the URL of a page about a topic, which "" leaves out: where it is the only one, or none is meant."""
    pairs = [*_topic(topic), *given.items()]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _topic(name: str) -> list[Pair]:
    return [("topic", name)] if name else []


@dataclass(frozen=True, slots=True)
class Query:
    """The selectors of a URL, in its order, without its other parameters; ``topic``: as of `link_to`."""

    pairs: tuple[Pair, ...] = ()
    chosen: DeadLetterQuery = field(default_factory=lambda: parse_query({}))
    topic: str = ""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]

    def first(self, name: str) -> str:
        return next(iter(self.values(name)), "")

    def has(self, name: str, value: str) -> bool:
        return (name, value) in self.pairs

    def toggled(self, name: str, value: str) -> str:
        """Return the query with one value added, or taken out where it is there."""
        pair = (name, value)
        pairs = [p for p in self.pairs if p != pair] if pair in self.pairs else [*self.pairs, pair]
        return urlencode([*_topic(self.topic), *pairs])

    def link(self, **more: str) -> str:
        """Return the query, with more parameters behind it."""
        return urlencode([*_topic(self.topic), *self.pairs, *more.items()])

    def command(self, words: str) -> str:
        """Return the command line that selects the same, quoted for a shell."""
        options = [f"--topic={self.topic}"] if self.topic else []
        for name, value in self.pairs:
            if name != "id":
                options += [f"--{name}"] if name == "include-resolved" else [f"--{name}={value}"]
        ids = self.values("id")
        return shlex.join(["keepstream", *words.split(), *options, *(["--", *ids] if ids else [])])


def query_of(given: Iterable[Pair], mask: Mask, topic: str = "") -> Query:
    """Parse the selectors. `KeepstreamError` names the parameter that is malformed, or may not be searched for."""
    pairs = tuple((name, value) for name, value in given if name in NAMES and value)
    if len(pairs) > MAX_PAIRS or any(len(value) > MAX_VALUE_CHARS for _, value in pairs):
        raise bad_selector("query", f"more than {MAX_PAIRS} values, or one of more than {MAX_VALUE_CHARS} characters")
    if any("\0" in value for _, value in pairs):
        raise bad_selector("query", "a NUL character selects nothing")
    query = Query(pairs, parse_query(_options(Query(pairs))), topic)
    for path, text in query.chosen.selection.where:
        mask.check(path, text)
    return query


def _options(query: Query) -> Mapping[str, Any]:
    given: dict[str, Any] = {option: tuple(query.values(name)) for name, option in REPEATABLE.items()}
    given["partitions"] = tuple(_number("partition", value) for value in query.values("partition"))
    for name in ("from-offset", "limit"):
        value = query.first(name)
        given[name.replace("-", "_")] = _number(name, value) if value else None
    for name in ("since", "until"):
        given[name] = query.first(name) or None
    if given["limit"] == 0:
        raise bad_selector("--limit", "is 0")
    given["resolved_too"] = bool(query.first("include-resolved"))
    return given


def _number(name: str, text: str) -> int:
    most = _MAX_INT32 if name in ("partition", "limit") else _MAX_OFFSET
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):  # noqa: PLR2004
        raise bad_selector(name if name == "before" else f"--{name}", f"{text!r} is not a number")
    return int(text)


def cursor_text(cursor: Cursor) -> str:
    """Return a cursor as the text of a URL: ``partition.offset`` of each, and the last key of the index scan."""
    ends = "_".join(f"{partition}.{offset}" for partition, offset in sorted(cursor.ends.items()))
    if cursor.before:
        microseconds = (cursor.before.failed_at - _EPOCH) // timedelta(microseconds=1)
        return f"{ends}~{microseconds}~{cursor.before.id}"
    return ends + (_TOPIC_ONLY if cursor.topic_only else "")


def cursor_of(text: str) -> Cursor:
    """Parse a cursor. Raises `KeepstreamError` for a malformed one."""
    topic_only = text.endswith(_TOPIC_ONLY)
    if topic_only and text.count("~") > 1:
        raise bad_selector("before", "has two continuations")
    written, *key = text.removesuffix(_TOPIC_ONLY).split("~", 2)
    pairs = [end.partition(".") for end in written.split("_")] if written else []
    ends = {_number("before", partition): _number("before", offset) for partition, _, offset in pairs}
    return Cursor(ends, _key(*key) if key else None, topic_only)


def _key(microseconds: str, letter_id: str = "") -> DeadLetterKey:
    if None in parse_record_id(letter_id):
        raise bad_selector("before", "is not the cursor of a page")
    try:
        return DeadLetterKey(_EPOCH + timedelta(microseconds=_number("before", microseconds)), letter_id)
    except OverflowError:
        raise bad_selector("before", "has a time out of range") from None
