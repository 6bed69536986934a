"""A dead letter as one line of JSON, byte for byte: the format of `dlq export` and `dlq import`.

Key, value and header values are base64, null where they are absent (an empty one is ``""``). ``headers`` is a list of
pairs: order and repetitions stay. ``id`` is for human readers and ignored on reading.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import KafkaRecord, is_text

_INT64 = 2**63


class InvalidExportError(ValueError):
    """A line is not an exported dead letter; the message gives the reason."""


def to_json_line(record: KafkaRecord) -> str:
    """Serialise a record, without the newline. ASCII only."""
    return json.dumps({
        "id": DeadLetterRecord(record).id,
        "topic": record.topic, "partition": record.partition, "offset": record.offset, "timestamp": record.timestamp,
        "key": _text(record.key), "value": _text(record.value),
        "headers": [[name, _text(value)] for name, value in record.headers],
    })  # fmt: skip


def from_json_line(line: str | bytes) -> KafkaRecord:
    """Parse a record. Raises InvalidExportError."""
    try:
        found: dict[str, Any] = json.loads(line)
        return KafkaRecord(
            str(found["topic"]), _number(found, "partition"), _number(found, "offset"), _number(found, "timestamp"),
            _bytes(found["key"]), _bytes(found["value"]), [(_name(n), _bytes(v)) for n, v in found["headers"]],
        )  # fmt: skip
    except KeyError as missing:
        raise InvalidExportError(f"{missing.args[0]} is absent") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidExportError(str(error)) from None


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)


def _number(found: dict[str, Any], name: str) -> int:
    number = found[name]
    if isinstance(number, bool) or not isinstance(number, int):
        raise InvalidExportError(f"{name} is not an integer")
    if not -_INT64 <= number < _INT64:
        raise InvalidExportError(f"{name} is out of range")
    return number


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidExportError("a header's name is not a string")
    name = name.replace("\0", "\ufffd")  # as in a dead letter: librdkafka ends a name at NUL
    if not is_text(name):
        raise InvalidExportError("a header's name is not UTF-8")
    return name
