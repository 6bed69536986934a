"""What PostgreSQL knows about single dead letters: their state, their event, their replays.

A letter is named by its id; the id of a letter of ours is the key of its row in ``dead_letters``. Letters that others
wrote have no row there: what is known of them is what replays left in ``replay_letters``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg.rows import dict_row

from keepstream.schemas.record import parse_record_id
from keepstream.sinks.postgres.statements import statement

Connection = psycopg.Connection[tuple[Any, ...]]

UNRESOLVED = frozenset({"open", "planned"})
"""``planned``: a replay took it on and was ended before it was sent; its resume will send it."""

_ALTERNATIVES = ("event_ids", "steps", "reasons", "verdicts", "sqlstates")
_BY_KIND, _BY_EVENT, _BY_ID = map(statement, ("letters_by_kind", "letters_by_event", "letters_by_id"))

_STATES = """
WITH held AS (SELECT DISTINCT unnest(planned) AS id FROM replays WHERE planned <> '{}')
SELECT l.id, CASE WHEN held.id IS NOT NULL THEN 'planned' ELSE coalesce(d.state, r.state) END
FROM unnest(%(ids)s::text[], %(topics)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[])
     AS l(id, topic, partition, "offset")
LEFT JOIN dead_letters d ON (d.topic, d.partition, d."offset") = (l.topic, l.partition, l."offset")
LEFT JOIN LATERAL (
    SELECT state FROM replay_letters WHERE letter_id = l.id ORDER BY updated_at DESC LIMIT 1
) r ON d.topic IS NULL
LEFT JOIN held ON held.id = l.id
WHERE coalesce(held.id, d.state, r.state) IS NOT NULL"""
_PLACES = """
SELECT l.id, d.place
FROM unnest(%(ids)s::text[], %(topics)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[])
     AS l(id, topic, partition, "offset")
JOIN dead_letters d USING (topic, partition, "offset") WHERE d.place IS NOT NULL"""
_CHANGE = """
UPDATE dead_letters d SET state = %(to)s
FROM unnest(%(topics)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[]) AS l(topic, partition, "offset")
WHERE (d.topic, d.partition, d."offset") = (l.topic, l.partition, l."offset") AND d.state = %(from)s
  AND NOT EXISTS (SELECT FROM replays WHERE d.topic || '-' || d.partition || '-' || d."offset" = ANY (planned))"""
_MOVE = """
UPDATE dead_letters d SET place = l.place
FROM unnest(%(topics)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[], %(places)s::text[])
     AS l(topic, partition, "offset", place)
WHERE (d.topic, d.partition, d."offset") = (l.topic, l.partition, l."offset")"""
_COUNTS = """
SELECT step, reason, verdict, state, count(*) AS letters FROM dead_letters
WHERE (%(since)s::timestamptz IS NULL OR last_failed_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR last_failed_at < %(until)s)
GROUP BY step, reason, verdict, state ORDER BY letters DESC LIMIT %(limit)s"""
MAX_COUNTS = 5000
"""Reasons are words of ours; a table that holds more of them than this is not what facets are for."""
_EVENT = """
SELECT event_id, status, created_at, updated_at, retry_count, correlation_id, source_topic, source_partition,
       source_offset
FROM events WHERE event_id = %s"""
_REPLAYS = """
SELECT replay_id, state, target_topic, target_partition, target_offset, updated_at
FROM replay_letters WHERE letter_id = %s ORDER BY replay_id"""


class DeadLetterKey(NamedTuple):
    """When a letter died, and its id: the order of a list, newest first. ``place``: where it lies, if that is known."""

    died_at: datetime
    id: str
    place: str | None = None


class DeadLetterIndex:
    """Questions about dead letters, on a connection in autocommit."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def usable(self) -> bool:
        """Whether the tables are there."""
        query = "SELECT to_regclass('dead_letters') IS NOT NULL AND to_regclass('replay_letters') IS NOT NULL"
        return bool(self._connection.execute(query).fetchall()[0][0])

    def of(self, letter_ids: Sequence[str]) -> dict[str, str]:
        """Return the state of each letter of which one is known."""
        given = {"ids": [*map(clean_text, letter_ids)], **_keys(letter_ids)}
        return dict(self._connection.execute(_STATES, given).fetchall())

    def places(self, letter_ids: Sequence[str]) -> dict[str, str]:
        """Return where letters lie in their dead letter topic, as far as it is known."""
        return dict(
            self._connection.execute(_PLACES, {"ids": [*map(clean_text, letter_ids)], **_keys(letter_ids)}).fetchall()
        )

    def discard(self, letter_ids: Sequence[str]) -> int:
        """Mark open letters as discarded; return how many were."""
        return self._change(letter_ids, "open", "discarded")

    def returned(self, places: Mapping[str, str | None]) -> None:
        """Note where letters lie that are back in the topic, by id; those that were discarded are open again."""
        self._connection.execute(_MOVE, {"places": [*places.values()], **_keys([*places])})
        self._change([*places], "discarded", "open")

    def deaths(
        self, given: Mapping[str, Any], before: DeadLetterKey, limit: int, *, resolved_too: bool
    ) -> list[DeadLetterKey]:
        """Return which letters died before one, newest first.

        Of a selection what is in ``dead_letters`` counts here; where it has ids or event ids, only those.
        """
        topic, partition, offset = parse_record_id(before.id)
        ids = list(given.get("ids", ()))
        parameters = {
            **{name: [*map(clean_text, given.get(name, ()))] for name in _ALTERNATIVES}, **_keys(ids),
            "since": given.get("since"), "until": given.get("until"), "died": before.died_at,
            "topic": clean_text(topic or ""), "partition": partition or 0, "offset": offset or 0, "limit": limit,
            "resolved_too": resolved_too, "unresolved": [*UNRESOLVED],
        }  # fmt: skip
        query = _BY_ID if ids else _BY_EVENT if given.get("event_ids") else _BY_KIND
        rows = self._connection.execute(query, parameters).fetchall()
        return [
            DeadLetterKey(died_at, f"{topic}-{partition}-{offset}", place)
            for topic, partition, offset, died_at, place in rows
        ]

    def counts(self, since: datetime | None = None, until: datetime | None = None) -> list[dict[str, Any]]:
        """Count all letters that died in ``[since, until)`` by ``step, reason, verdict, state``, as ``letters``."""
        given = {"since": since, "until": until, "limit": MAX_COUNTS}
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_COUNTS, given).fetchall()

    def event(self, event_id: str) -> dict[str, Any] | None:
        """Return the event's row, without its payload."""
        return next(iter(self._rows(_EVENT, event_id)), None)

    def replays(self, letter_id: str) -> list[dict[str, Any]]:
        """Return what replays did with a letter, oldest first."""
        return self._rows(_REPLAYS, letter_id)

    def _change(self, letter_ids: Sequence[str], before: str, after: str) -> int:
        given = {"from": before, "to": after, **_keys(letter_ids)}
        return self._connection.execute(_CHANGE, given).rowcount

    def _rows(self, query: LiteralString, name: str) -> list[dict[str, Any]]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, [clean_text(name)]).fetchall()


def clean_text(name: str) -> str:
    """Replace what PostgreSQL's text cannot hold; such a name finds nothing."""
    return name.encode(errors="replace").decode().replace("\0", "\ufffd")


def _keys(letter_ids: Sequence[str]) -> dict[str, list[Any]]:
    keys = [*map(parse_record_id, letter_ids)]
    return {
        "topics": [topic and clean_text(topic) for topic, _, _ in keys],
        "partitions": [partition for _, partition, _ in keys],
        "offsets": [offset for _, _, offset in keys],
    }
