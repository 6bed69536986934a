"""Changes to JSON text that keep what they do not touch: digits of numbers, repeated names, their order."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping

SYMBOL = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_SEPARATORS = {",": ", ", ":": ": "}


class JsonText(str):
    """A JSON document as it is stored: numbers keep their digits, which Python's types would round."""

    __slots__ = ()


def json_text_of(value: object, default: Callable[[object], object] | None = None) -> str:
    """Return a value as JSON; `JsonText` in it is written as it is. ``default`` replaces what JSON has no type for."""
    if isinstance(value, JsonText):
        return value
    if isinstance(value, Mapping):
        members = (f"{json.dumps(str(name), ensure_ascii=False)}: {json_text_of(item, default)}"
                   for name, item in value.items())  # fmt: skip
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(json_text_of(item, default) for item in value)}]"
    return json.dumps(value, default=default, ensure_ascii=False)


def decode_json(value: bytes) -> str:
    """Return bytes as the text of one JSON document. Raises ValueError or RecursionError when they are none."""
    text = value.decode(json.detect_encoding(value), "surrogatepass")
    json.loads(text, parse_int=str, parse_float=str)  # no limit to the number of digits
    return text


def replace_values(text: str, replaces: Callable[[str], bool], replacement: str) -> str | None:
    """Replace the value of every name for which ``replaces`` is true. Return None when there is no such name.

    ``text`` is valid JSON. A name that is repeated is replaced each time.
    """
    symbols, parts, replaced, name = _symbols(text), list[str](), False, ""
    for symbol in symbols:
        parts.append(_SEPARATORS.get(symbol, symbol))
        if symbol == ":" and replaces(json.loads(name)):
            _skip_value(symbols)
            parts.append(json.dumps(replacement))
            replaced = True
        name = symbol
    return "".join(parts) if replaced else None


def indent_json(text: str) -> str:
    """Return valid JSON indented by two spaces a level; strings are unescaped, numbers keep their digits."""
    parts, depth, last = list[str](), 0, ""
    for symbol in _symbols(text):
        depth -= symbol in "}]"
        if last and (last in "{[," or symbol in "}]") and last + symbol not in ("{}", "[]"):
            parts.append("\n" + "  " * depth)
        parts.append(": " if symbol == ":" else _unescaped(symbol))
        depth += symbol in "{["
        last = symbol
    return "".join(parts)


def _symbols(text: str) -> Iterator[str]:
    return (found[0] for found in SYMBOL.finditer(text))


def _unescaped(symbol: str) -> str:
    return json.dumps(json.loads(symbol), ensure_ascii=False) if symbol.startswith('"') else symbol


def _skip_value(symbols: Iterator[str]) -> None:
    depth = 0
    for symbol in symbols:
        depth += (symbol in "{[") - (symbol in "}]")
        if depth == 0:
            return
