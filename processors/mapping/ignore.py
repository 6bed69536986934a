"""Rules by which a record is ignored: it becomes neither an event nor a dead letter, and is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic_core import from_json

from keepstream.processors.mapping.document import NOT_JSON, Document, UnmappedError
from keepstream.processors.mapping.sources import compile_source, reads_value
from keepstream.schemas.event import MAX_VALUE_BYTES
from keepstream.schemas.record import Record

Condition = Callable[[Document], bool]
_UNUSABLE = object()
"""A key that is no text: present, and equal to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRule:
    """One condition: the source is present or absent, or equals a text, a whole number, true or false."""

    source: str
    equals: str | int | bool | None = None
    present: bool | None = None


def compile_rules(rules: Sequence[IgnoreRule]) -> Callable[[Record], bool]:
    """Return whether any of the rules holds for a record. Raises ValueError for a rule that cannot hold.

    A path is looked up in JSON only: what is not JSON is never ignored because of a path that it does not have.
    """
    of_record = [_condition(rule) for rule in rules if not reads_value(rule.source)]
    of_value = [_condition(rule) for rule in rules if reads_value(rule.source)]

    def ignores(record: Record) -> bool:
        document = Document(record, b"", NOT_JSON)
        return any(holds(document) for holds in of_record) or (bool(of_value) and _any_of_value(record, of_value))

    return ignores


def _any_of_value(record: Record, conditions: Sequence[Condition]) -> bool:
    value = record.value
    if not value or len(value) > MAX_VALUE_BYTES:
        return False
    try:
        document = Document(record, value, from_json(value))
    except ValueError:
        return False
    return any(holds(document) for holds in conditions)


def _condition(rule: IgnoreRule) -> Condition:
    spec = rule.source
    if not (spec.startswith(("/", "header:")) or spec in ("key", "value")):
        raise ValueError(f"{spec!r}: a rule takes a path like /order/no, header:name, key or value")
    if (rule.equals is None) == (rule.present is None):
        raise ValueError(f"{spec}: a rule has either equals or present")
    if not reads_value(spec) and rule.equals is not None and not isinstance(rule.equals, str):
        raise ValueError(f'{spec} is text: write equals = "{rule.equals}"')
    read = compile_source(spec).value
    if rule.present is not None:
        return lambda document: (_found(read, document) is not None) is rule.present
    return lambda document: _equals(_found(read, document), rule.equals)


def _found(read: Callable[[Document], object], document: Document) -> object:
    try:
        return read(document)
    except UnmappedError:
        return _UNUSABLE


def _equals(found: object, wanted: str | int | bool | None) -> bool:
    """Compare, but true is not 1, as in JSON."""
    return isinstance(found, bool) is isinstance(wanted, bool) and found == wanted
