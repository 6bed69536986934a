"""Where a part of an event comes from: a path into the value, a header, the key, a constant, joined text, a hash."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from keepstream.processors.mapping.document import NOT_JSON, Document, Path, UnmappedError, quoted, value_at
from keepstream.schemas.record import header, text_of

SOURCES = (
    "a path like /order/no, header:name, key, value (all of it), record (its timestamp), sha256 (of the value), "
    "constant:text, none, or text with these in braces, like order-{/order/no}"
)
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Source:
    """A compiled source. Both functions return None when there is nothing.

    ``value`` returns parsed JSON or text, ``raw`` the JSON text that is stored.
    """

    spec: str
    value: Callable[[Document], object]
    raw: Callable[[Document], bytes | None]
    field: str
    """What an error message begins with: the path with dots, or the source as it was written."""
    member: str | None = None
    """The name of the member of the value that it is, where it is one."""

    def text(self, document: Document) -> str | None:
        """Return text; an integer becomes its digits. Raises UnmappedError for anything else."""
        found = self.value(document)
        if found is None or isinstance(found, str):
            return found
        if isinstance(found, int) and not isinstance(found, bool):
            return str(found)
        raise UnmappedError("invalid_field", f"{self.field}: must be text or an integer, to be used as text")

    def missing(self, document: Document, part: str) -> UnmappedError:
        """Describe that a required part is absent."""
        if self.spec.startswith("/") and not isinstance(document.root, dict | list):
            return UnmappedError("not_an_object", "the value is valid JSON but not an object")
        return UnmappedError("missing_field", f"{self.field}: is required and absent or null (mapping.{part})")


def compile_source(spec: str) -> Source:
    """Compile a source as it is written in the settings. Raises ValueError, which names what can be written."""
    if "{" in spec or "}" in spec:
        return _joined(spec)
    if spec.startswith("/"):
        return pointer(spec)
    name, colon, rest = spec.partition(":")
    if colon and rest and name in _WITH_ARGUMENT:
        return _of_text(spec, _WITH_ARGUMENT[name](rest))
    if spec == "value":
        return Source(spec, _root, _whole, "value")
    if spec in _PLAIN:
        return _of_text(spec, _PLAIN[spec])
    raise ValueError(f"{spec!r} is no source: write {SOURCES}")


def pointer(spec: str) -> Source:
    """Compile a JSON pointer (RFC 6901)."""
    path = path_of(spec)
    name = path[0]

    def value(document: Document) -> object:
        return value_at(document.root, path)

    def member(document: Document) -> object:
        try:
            return document.root.get(name)
        except AttributeError:
            return value_at(document.root, path)

    def raw(document: Document) -> bytes | None:
        return None if value(document) is None else document.raw(path)

    only = len(path) == 1
    return Source(spec, member if only else value, raw, ".".join(path), name if only and name.isascii() else None)


def pieces(spec: str) -> list[str]:
    """Return the sources in braces, or the source itself where it has none."""
    return _BRACES.findall(spec) if "{" in spec else [spec]


def reads_value(spec: str) -> bool:
    """Whether a source needs the value of the record, which a tombstone does not have."""
    return any(piece.startswith("/") or piece in ("value", "sha256") for piece in pieces(spec))


def path_of(spec: str) -> Path:
    """Split a JSON pointer into its tokens. Raises ValueError for the empty name that ``/`` means."""
    if spec == "/":
        raise ValueError("'/' is a member without a name: write value for all of it")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in spec[1:].split("/"))


def _joined(spec: str) -> Source:
    pieces = _BRACES.split(spec)
    if any(brace in text for brace in "{}" for text in pieces[::2]):
        raise ValueError(f"{spec!r} has a brace without its partner, or one inside another")
    parts: list[str | Source] = [compile_source(text) if i % 2 else text for i, text in enumerate(pieces)]

    def join(document: Document) -> str | None:
        texts = [part if isinstance(part, str) else part.text(document) for part in parts]
        for part, text in zip(parts, texts, strict=True):
            if text is None and isinstance(part, Source):
                raise UnmappedError("missing_field", f"{part.field}: is required and absent or null, for {spec}")
        return "".join(text or "" for text in texts)

    return _of_text(spec, join)


def _of_text(spec: str, read: Callable[[Document], str | None]) -> Source:
    def raw(document: Document) -> bytes | None:
        text = read(document)
        return None if text is None else quoted(text)

    return Source(spec, read, raw, spec)


def _header(name: str) -> Callable[[Document], str | None]:
    return lambda document: header(document.record, name)


def _constant(text: str) -> Callable[[Document], str | None]:
    return lambda _document: text


def _key(document: Document) -> str | None:
    key = document.record.key
    text = text_of(key)
    if key and text is None:
        raise UnmappedError("invalid_utf8", "key: is not UTF-8")
    return text


def _sha256(document: Document) -> str:
    return f"sha256:{sha256(document.value).hexdigest()}"


def _root(document: Document) -> object:
    return None if document.root is NOT_JSON else document.root


def _whole(document: Document) -> bytes | None:
    return None if _root(document) is None else document.value


def _nothing(_document: Document) -> None:
    return None


_WITH_ARGUMENT = {"header": _header, "constant": _constant}
_PLAIN: dict[str, Callable[[Document], str | None]] = {"key": _key, "sha256": _sha256, "none": _nothing}
RECORD = "record"
"""As a timestamp: the record's own."""
