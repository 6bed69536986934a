"""The statements of `sql/`, read once. Fragments in braces are other files of the folder."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import LiteralString

# psycopg remembers how a query is taken apart only up to 4096 characters: comments and indentation stay behind.
_COMMENT = re.compile(r"--[^\n]*")
_FRAGMENTS = ("incoming", "newer", "same_record")


def statement(name: str) -> LiteralString:
    """Return ``sql/<name>.sql`` with its fragments filled in. All of it is our own text, none of it input."""
    text = _read(name)
    for fragment in _FRAGMENTS:
        text = text.replace("{" + fragment + "}", _read(fragment))
    return " ".join(_COMMENT.sub("", text).split())


def _read(name: str) -> str:
    return (files("sinks.postgres") / "sql" / f"{name}.sql").read_text(encoding="utf-8").strip()
