"""One dead letter: finding it by any of its names, and all that is known of it."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Iterable
from typing import Any

from keepstream.app.dlq.format import to_row
from keepstream.app.dlq.lookup_by_offset import StaleRecordIdError, places_of
from keepstream.app.dlq.page import NEWEST
from keepstream.app.dlq.topic import Queue, Tell
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import parse_record_id
from keepstream.sinks.kafka.dead_letter_reader import letter_at, newest_first

_PATH = re.compile(r"([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*): ")


def locate(queue: Queue, name: str, tell: Tell, patience_s: float = math.inf) -> DeadLetterRecord | None:
    """Find a letter: at its place, where PostgreSQL remembers it, else by walking back through the topic.

    The walk ends after ``patience_s``, and finds nothing then.
    """
    topic, partition, offset = parse_record_id(name)
    if topic == queue.topic and partition is not None and offset is not None:
        return letter_at(queue.client, topic, partition, offset)
    if letter := remembered(queue, name):
        return letter
    if queue.ledger:
        tell("PostgreSQL does not know it; walking back through the whole topic")
    deadline = time.monotonic() + patience_s
    walk = itertools.takewhile(lambda _: time.monotonic() < deadline, newest_first(queue.client, queue.topic))
    return _first_named(name, walk)


def remembered(queue: Queue, name: str) -> DeadLetterRecord | None:
    """Find a letter by id or event id where PostgreSQL remembers its place."""
    named = ({"ids": (name,)}, {"event_ids": (name,)})
    deaths = (queue.ledger.deaths(given, NEWEST, 1, resolved_too=True) for given in named) if queue.ledger else ()
    death = next((found[0] for found in deaths if found), None)
    if death is None:
        return None
    try:
        with places_of(queue.client, queue.topic) as places:
            return places.find({death.id: death.place})[death.id]
    except StaleRecordIdError:
        return None


def describe(queue: Queue, letter: DeadLetterRecord) -> dict[str, Any]:
    """Collect what the topic and PostgreSQL say: ``letter``, ``event`` (None without a row), ``replays``."""
    ledger = queue.ledger
    state = ledger.of([letter.id]).get(letter.id) if ledger else None
    return {
        "letter": to_row(letter, state) | {"path": failed_field(letter)},
        "event": ledger.event(letter.event_id) if ledger and letter.event_id else None,
        "replays": ledger.replays(letter.id) if ledger else [],
    }


def failed_field(letter: DeadLetterRecord) -> str | None:
    """Return the field that the message is about: the contract's messages begin with it."""
    found = _PATH.match(letter.message or "") if letter.step == "validate" else None
    return found and found[1]


def _first_named(name: str, letters: Iterable[DeadLetterRecord]) -> DeadLetterRecord | None:
    return next((one for one in letters if name in (one.id, one.event_id)), None)
