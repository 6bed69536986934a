"""The statements of `sql/`, read once. Fragments in braces are other files of the folder."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import LiteralString

MAX_CACHED_CHARS = 4096
"""psycopg caches the parsed form of shorter queries only: so comments and unneeded blanks are removed."""
_COMMENT = re.compile(r"--[^\n]*")
_AROUND_PUNCTUATION = re.compile(r"\s*([(),=+])\s*")
_FRAGMENTS = ("fence", "incoming", "newer", "stale", "insert_dead_letters")


def statement(name: str, **fragments: LiteralString) -> LiteralString:
    """Return ``sql/<name>.sql`` with the common and the given fragments filled in. No part of it is input."""
    text = _read(name)
    for fragment in _FRAGMENTS:
        text = text.replace("{" + fragment + "}", fragments[fragment] if fragment in fragments else _read(fragment))
    return _AROUND_PUNCTUATION.sub(r"\1", " ".join(_COMMENT.sub("", text).split()))


def _read(name: str) -> str:
    return (files("keepstream.sinks.postgres") / "sql" / f"{name}.sql").read_text(encoding="utf-8").strip()
