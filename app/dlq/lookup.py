"""Finds one dead letter by any of its names, and collects what is known of it."""

from __future__ import annotations

import math
import re
import time
from typing import Any

from keepstream.app.dlq.coverage import NEWEST
from keepstream.app.dlq.format import to_row
from keepstream.app.dlq.lookup_by_offset import StaleRecordIdError, open_offset_reader
from keepstream.app.dlq.topic import DeadLetterTopic, Notify
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import parse_record_id
from keepstream.sinks.kafka.dead_letter_reader import dead_letter_at, newest_first

_PATH = re.compile(r"([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*): ")


def find(topic: DeadLetterTopic, name: str, notify: Notify, timeout_s: float = math.inf) -> DeadLetterRecord | None:
    """Find a dead letter by record id, id or event id: in PostgreSQL's index, else by reading the topic.

    Of an event the newest one is returned; None where reading takes longer than ``timeout_s``.
    """
    name_topic, partition, offset = parse_record_id(name)
    if name_topic == topic.name and partition is not None and offset is not None:
        return dead_letter_at(topic.client, topic.name, partition, offset)
    if found := find_in_index(topic, name):
        return found
    if topic.index:
        notify("PostgreSQL does not know it; reading the whole topic")
    deadline = time.monotonic() + timeout_s
    for dead_letter in newest_first(topic.client, topic.name):
        if name in (dead_letter.id, dead_letter.event_id):
            return dead_letter
        if time.monotonic() > deadline:
            break
    return None


def find_in_index(topic: DeadLetterTopic, name: str) -> DeadLetterRecord | None:
    """Find a dead letter by id or event id where PostgreSQL names its record."""
    if topic.index is None:
        return None
    record_ids = topic.index.record_ids([name])
    if not any(record_ids.values()):
        newest = topic.index.find(topic.name, {"event_ids": (name,)}, NEWEST, 1, resolved_too=True)
        record_ids = {key.id: key.record_id for key in newest}
    try:
        with open_offset_reader(topic.client, topic.name) as reader:
            return next(iter(reader.fetch(record_ids).values()), None)
    except StaleRecordIdError:
        return None


def describe(topic: DeadLetterTopic, dead_letter: DeadLetterRecord) -> dict[str, Any]:
    """Collect what the topic and PostgreSQL say: ``dead_letter``, ``event`` (None without a row), ``replays``."""
    index = topic.index
    known = index.known([dead_letter.id]).get(dead_letter.id) if index else None
    return {
        "dead_letter": to_row(dead_letter, known and known.state) | {"path": failed_field(dead_letter)},
        "event": index.event(dead_letter.event_id) if index and dead_letter.event_id else None,
        "replays": index.replays(dead_letter.id) if index else [],
    }


def failed_field(dead_letter: DeadLetterRecord) -> str | None:
    """Return the field that the message is about: the contract's messages begin with it."""
    found = _PATH.match(dead_letter.message or "") if dead_letter.step == "validate" else None
    return found and found[1]
