"""PostgreSQL's index of dead letters: state, time, cause and record of each, its event and its replays.

The id of a dead letter is the key of its row in ``dead_letters``. Those of other systems have no row there; their state
is that of their last replay in ``replay_letters``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg.rows import dict_row

from keepstream.schemas.record import parse_record_id
from keepstream.sinks.postgres.connection import Connection
from keepstream.sinks.postgres.statements import statement

UNRESOLVED = frozenset({"open", "planned", "failed"})
"""``planned``: a replay was ended before it produced the dead letter; its resume will produce it.
``failed``: a replay did not send a dead letter of another system; those with a row are open again."""

_ALTERNATIVES = ("event_ids", "steps", "reasons", "verdicts", "sqlstates", "origins")
_BY_CAUSE, _BY_EVENT = map(statement, ("dead_letters_by_cause", "dead_letters_by_event"))
_COMPLETE_BLOCKS = statement("complete_blocks")

_KNOWN = """
WITH in_replay AS (SELECT DISTINCT unnest(planned) AS id FROM replays WHERE planned <> '{}')
SELECT l.id, CASE WHEN in_replay.id IS NOT NULL THEN 'planned' ELSE coalesce(d.state, r.state) END, d.place
FROM unnest(%(ids)s::text[], %(topics)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[])
     AS l(id, topic, partition, "offset")
LEFT JOIN dead_letters d ON (d.topic, d.partition, d."offset") = (l.topic, l.partition, l."offset")
LEFT JOIN LATERAL (
    SELECT state FROM replay_letters WHERE letter_id = l.id ORDER BY state = 'failed', updated_at DESC LIMIT 1
) r ON d.topic IS NULL
LEFT JOIN in_replay ON in_replay.id = l.id
WHERE coalesce(in_replay.id, d.state, r.state) IS NOT NULL"""
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
SELECT step, reason, verdict, state, count(*) AS "letters" FROM dead_letters
WHERE (%(since)s::timestamptz IS NULL OR last_failed_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR last_failed_at < %(until)s)
GROUP BY step, reason, verdict, state ORDER BY 5 DESC LIMIT %(limit)s"""
MAX_COUNTS = 5000
"""Maximum rows of a count."""
_EVENT = """
SELECT event_id, status, created_at, updated_at, retry_count, correlation_id, source_topic, source_partition,
       source_offset
FROM events WHERE event_id = %s"""
_REPLAYS = """
SELECT replay_id, state, target_topic, target_partition, target_offset, error, updated_at
FROM replay_letters WHERE letter_id = %s ORDER BY replay_id"""


class DeadLetterKey(NamedTuple):
    """Sort key of a list: time of the last failure, and id. ``record_id`` is the record in the dead letter topic."""

    failed_at: datetime
    id: str
    record_id: str | None = None


class KnownDeadLetter(NamedTuple):
    """State of a dead letter, and its record id in the dead letter topic, None where it has none yet."""

    state: str
    record_id: str | None


class DeadLetterIndex:
    """Queries and updates of dead letters, on a connection in autocommit."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def usable(self) -> bool:
        """Return whether the tables exist."""
        query = "SELECT to_regclass('dead_letter_outbox') IS NOT NULL AND to_regclass('replay_letters') IS NOT NULL"
        return bool(self._connection.execute(query).fetchall()[0][0])

    def known(self, ids: Sequence[str]) -> dict[str, KnownDeadLetter]:
        """Return what is known of each of these dead letters, by id; nothing of those without a row."""
        rows = self._connection.execute(_KNOWN, {"ids": [*map(clean_text, ids)], **_keys(ids)}).fetchall()
        return {dead_letter_id: KnownDeadLetter(*row) for dead_letter_id, *row in rows}

    def unpublished(self) -> int:
        """Return how many dead letters are decided and not yet confirmed by the broker."""
        return int(self._connection.execute("SELECT count(*) FROM dead_letter_outbox").fetchall()[0][0])

    def record_ids(self, ids: Sequence[str]) -> dict[str, str | None]:
        """Return the record id in the dead letter topic of each of these dead letters."""
        return {dead_letter_id: one.record_id for dead_letter_id, one in self.known(ids).items()}

    def check_rights(self) -> None:
        """Update no row. Raises psycopg errors where this session may not update dead letters."""
        self._connection.execute("UPDATE dead_letters SET state = state, place = place WHERE false")

    def discard(self, dead_letter_ids: Sequence[str]) -> int:
        """Mark open dead letters as discarded; return how many were."""
        return self._change(dead_letter_ids, "open", "discarded")

    def reimported(self, record_ids: Mapping[str, str | None]) -> None:
        """Store the new record ids of imported dead letters, by id; discarded ones are open again."""
        self._connection.execute(_MOVE, {"places": [*record_ids.values()], **_keys([*record_ids])})
        self._change([*record_ids], "discarded", "open")

    def find(
        self, dlq_topic: str, selection: Mapping[str, Any], before: DeadLetterKey, limit: int, *, resolved_too: bool
    ) -> list[DeadLetterKey]:
        """Return the next dead letters in a topic behind ``before``, newest first.

        Of a selection the columns of the table count. Where it has event ids, these alone.
        """
        topic, partition, offset = parse_record_id(before.id)
        parameters = {
            **{name: [*map(clean_text, selection.get(name, ()))] for name in _ALTERNATIVES}, "dlq_topic": dlq_topic,
            "since": selection.get("since"), "until": selection.get("until"), "failed_at": before.failed_at,
            "topic": clean_text(topic or ""), "partition": partition or 0, "offset": offset or 0, "limit": limit,
            "resolved_too": resolved_too, "unresolved": [*UNRESOLVED],
        }  # fmt: skip
        query = _BY_EVENT if selection.get("event_ids") else _BY_CAUSE
        rows = self._connection.execute(query, parameters).fetchall()
        return [
            DeadLetterKey(failed_at, f"{topic}-{partition}-{offset}", record_id)
            for topic, partition, offset, failed_at, record_id in rows
        ]

    def complete_blocks(
        self, dlq_topic: str, since: datetime | None = None, until: datetime | None = None
    ) -> set[tuple[int, int]]:
        """Return (partition, offset // 100) of the blocks of a topic in which each record has a row.

        With a time, only of blocks in which no record failed within ``[since, until)``.
        """
        given = {"dlq_topic": dlq_topic, "since": since, "until": until}
        blocks = (parse_record_id(block) for (block,) in self._connection.execute(_COMPLETE_BLOCKS, given))
        return {(partition, number) for topic, partition, number in blocks
                if topic == dlq_topic and partition is not None and number is not None}  # fmt: skip

    def counts(self, since: datetime | None = None, until: datetime | None = None) -> list[dict[str, Any]]:
        """Return counts of what failed in ``[since, until)`` by ``step, reason, verdict, state``."""
        given = {"since": since, "until": until, "limit": MAX_COUNTS}
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_COUNTS, given).fetchall()

    def event(self, event_id: str) -> dict[str, Any] | None:
        """Return the event's row, without its payload."""
        return next(iter(self._rows(_EVENT, event_id)), None)

    def replays(self, dead_letter_id: str) -> list[dict[str, Any]]:
        """Return what replays did with a dead letter, oldest first."""
        return self._rows(_REPLAYS, dead_letter_id)

    def _change(self, dead_letter_ids: Sequence[str], before: str, after: str) -> int:
        given = {"from": before, "to": after, **_keys(dead_letter_ids)}
        return self._connection.execute(_CHANGE, given).rowcount

    def _rows(self, query: LiteralString, name: str) -> list[dict[str, Any]]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, [clean_text(name)]).fetchall()


def clean_text(name: str) -> str:
    """Replace characters that PostgreSQL's text cannot store; such a name finds no row."""
    return name.encode(errors="replace").decode().replace("\0", "\ufffd")


def _keys(dead_letter_ids: Sequence[str]) -> dict[str, list[Any]]:
    keys = [*map(parse_record_id, dead_letter_ids)]
    return {
        "topics": [topic and clean_text(topic) for topic, _, _ in keys],
        "partitions": [partition for _, partition, _ in keys],
        "offsets": [offset for _, _, offset in keys],
    }
