"""The statements of `sql/`, read once. Fragments in braces are other files of the folder."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import LiteralString

# psycopg remembers how a query is taken apart only up to 4096 characters: comments and unneeded blanks stay behind.
REMEMBERED_CHARS = 4096
_COMMENT = re.compile(r"--[^\n]*")
_AROUND_PUNCTUATION = re.compile(r"\s*([(),])\s*")
_FRAGMENTS = ("fence", "incoming", "newer", "stale", "insert_dead_letters")


def statement(name: str, **fragments: LiteralString) -> LiteralString:
    """Return ``sql/<name>.sql`` with its fragments filled in: the common ones, and the given. None of it is input."""
    text = _read(name)
    for place in _FRAGMENTS:
        text = text.replace("{" + place + "}", fragments[place] if place in fragments else _read(place))
    return _AROUND_PUNCTUATION.sub(r"\1", " ".join(_COMMENT.sub("", text).split()))


def _read(name: str) -> str:
    return (files("keepstream.sinks.postgres") / "sql" / f"{name}.sql").read_text(encoding="utf-8").strip()
