"""Members of the value that are parts of the event as they are: renamed where they stand, so that nothing is copied."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from keepstream.processors.mapping.document import is_plain

_CLOSING_BRACE = ord("}")
_MAX_PLANS = 1000
_PLAIN_NAME = re.compile(r"[ !#-\[\]-~]+")


class _Plan(NamedTuple):
    """What the names that were found in a value become, and the parts that are in it then."""

    names: Sequence[bytes]
    inside: frozenset[str]


class Renames:
    """Renames members of an object's text, all in one search.

    ``names`` is the member that each part of the event is. The texts of records differ, the names in them hardly ever:
    what becomes of those is decided once and kept.
    """

    __slots__ = ("_is_needed", "_plans", "_split", "_split_plain", "names")

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = {part: name for part, name in names.items() if _PLAIN_NAME.fullmatch(name)}
        moved = [name for part, name in self.names.items() if name != part]
        name = rf'"({"|".join(map(re.escape, moved))})"[ \t\r\n]*:'.encode()
        self._split_plain, self._split = re.compile(name).split, re.compile(rb"(?<!\\)" + name).split
        self._is_needed = bool(moved)
        self._plans: dict[tuple[tuple[bytes, ...], tuple[str, ...]], _Plan] = {}

    def present(self, root: Mapping[str, object]) -> tuple[str, ...]:
        """Return the parts whose member an object has, unless it has another of the part's own name."""
        names = self.names.items()
        return tuple([part for part, name in names if name in root and (name == part or part not in root)])

    def pieces(self, document: bytes, present: tuple[str, ...]) -> tuple[list[bytes], frozenset[str]]:
        """Return the text in pieces and without its closing brace, and which of the parts that are present are in it.

        No backslash stands before a name's quote, so it begins a string; the only one of that name is the member,
        unless an escape writes it in another way (`is_plain`). To look back takes three times as long.
        """
        if not self._is_needed:
            pieces = [document]
        elif document.find(b"\\") < 0:
            pieces = self._split_plain(document)
        else:
            pieces = self._split(document) if is_plain(document) else [document]
        found = tuple(pieces[1::2])
        plan = self._plans.get((found, present)) or self._plan(found, present)
        pieces[1::2] = plan.names
        last = pieces[-1]
        pieces[-1] = last[:-1] if last[-1] == _CLOSING_BRACE else last.rstrip(b" \t\r\n")[:-1]
        return pieces, plan.inside

    def _plan(self, found: tuple[bytes, ...], present: tuple[str, ...]) -> _Plan:
        once = {name.decode() for name, count in Counter(found).items() if count == 1}
        new = {name: part for part, name in self.names.items() if part in present and (name == part or name in once)}
        names = [f'"{new.get(name, name)}":'.encode() for name in map(bytes.decode, found)]
        plan = _Plan(names, frozenset(new.values()))
        if len(self._plans) < _MAX_PLANS:
            self._plans[found, present] = plan
        return plan
