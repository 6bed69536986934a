"""Numbers that pass through a custom contract or a transform are stored with the digits that the producer wrote."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Self, TypeVar

import pydantic_core
from pydantic import BaseModel, ValidationError

from keepstream.schemas.json_text import JsonText, json_text_of

M = TypeVar("M", bound=BaseModel)
_HAS_FRACTION = re.compile(rb"[0-9][.eE][-+0-9]").search  # also in a string, where it costs a second parse


class WrittenNumber(float):
    """A number with a fraction or an exponent that a float would write differently: ``1.10``, ``1e-999``, 30 digits.

    It counts as the nearest float, and is stored, and turned into text or `Decimal` by pydantic, as it was written.
    """

    __slots__ = ("text",)

    def __new__(cls, text: str | float) -> Self:
        """Keep the text."""
        made = super().__new__(cls, text)
        made.text = str(text)
        return made

    text: str

    def __str__(self) -> str:
        """Return the number as it was written: ``Decimal(str(number))`` is exact."""
        return self.text

    __repr__ = __str__


def parse_model(model: type[M], value: bytes) -> M:
    """Parse JSON as pydantic does, but with all digits in fields of type `Decimal` and of no type. Raises its errors.

    Pydantic reads fractions as floats. So what it accepts is validated again, as Python objects with the numbers as
    they were written, where the value has any that a float does not hold. A strict model may refuse those objects, as
    dates are text in JSON only: then it is left at the floats.
    """
    parsed = model.model_validate_json(value)
    if _HAS_FRACTION(value) is None:
        return parsed
    objects = _decode(value.decode())
    if not _holds_exact(objects):
        return parsed
    try:
        return model.model_validate(objects)
    except ValidationError:
        return parsed


def _number(text: str) -> float:
    """Return a plain float where it is written like that, by pydantic's `Decimal` too."""
    found = float(text)
    is_same = repr(found) == text and not text.endswith(".0") and "e" not in text
    return found if is_same else WrittenNumber(text)


_decode = json.JSONDecoder(parse_float=_number).decode


def to_json(value: dict[str, Any]) -> bytes:
    """Return an object as JSON, as pydantic writes it, but numbers as they were written and a `Decimal` as a number.

    NaN stays NaN, and is refused; it does not become null.
    """
    if not _holds_exact(value):
        return pydantic_core.to_json(value, inf_nan_mode="constants")
    return json_text_of(_texts(value), pydantic_core.to_jsonable_python).encode()


def _holds_exact(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_exact, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_holds_exact, value))
    return isinstance(value, WrittenNumber | Decimal)


def _texts(value: object) -> object:
    if isinstance(value, WrittenNumber | Decimal):
        return JsonText(value)
    if isinstance(value, dict):
        return {_name(name): _texts(inner) for name, inner in value.items()}
    return [_texts(inner) for inner in value] if isinstance(value, list | tuple | set | frozenset) else value


def _name(name: object) -> str:
    return name if isinstance(name, str) else next(iter(pydantic_core.to_jsonable_python({name: None})))
