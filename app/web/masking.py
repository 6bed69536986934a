"""Masking of fields whose values are secret."""

from __future__ import annotations

from collections.abc import Collection

from keepstream.app.errors import REFUSED, KeepstreamError
from keepstream.schemas.json_text import decode_json, replace_values

HIDDEN = "\N{BULLET}" * 6
NOT_JSON = f"{HIDDEN} (not JSON, so its fields cannot be masked)".encode()


class Mask:
    """Replaces the values of these fields by bullets, at any depth, ignoring case."""

    def __init__(self, names: Collection[str] = ()) -> None:
        self._names = frozenset(name.casefold() for name in names)

    def value(self, value: bytes | None) -> bytes | None:
        """Return the masked value: the same bytes when nothing is masked, else JSON; `NOT_JSON` for anything else.

        A name that is repeated is masked each time, and the values of repeated parents are searched.
        """
        if not self._names or not value:
            return value
        try:
            text = decode_json(value)
        except (ValueError, RecursionError):
            return NOT_JSON
        shown = self.text(text)
        return value if shown == text else shown.encode(errors="surrogatepass")

    def text(self, text: str) -> str:
        """Return masked JSON text: the same text when nothing is masked."""
        masked = replace_values(text, self.hides, HIDDEN) if self._names else None
        return text if masked is None else masked

    def header(self, name: str, value: bytes | None) -> bytes | None:
        return HIDDEN.encode() if self.hides(name) else value

    def touches(self, value: bytes | None) -> bool:
        """Whether a part of the value is masked."""
        return self.value(value) != value

    def hides(self, name: str) -> bool:
        return name.casefold() in self._names

    def check(self, path: str, text: str) -> None:
        """Refuse a search in masked fields, which would reveal them by guessing. Raises `KeepstreamError`."""
        whole = self._names and text[:1] in ("{", "[")
        if whole or any(self.hides(part) for part in path.split(".")):
            raise KeepstreamError("masked", f"--where: {path} is masked", "search for another field", REFUSED)
