"""Queries of events: rows and dead letters by event id, and the list of `events list`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

from keepstream.schemas.json_text import JsonText
from keepstream.sinks.postgres.connection import Connection

_FETCH = 1000
_EVENT = """
SELECT event_id, status, payload, metadata, created_at, updated_at, retry_count, correlation_id,
       source_topic, source_partition, source_offset
FROM events WHERE event_id = %s"""
_DEATHS = """
SELECT topic || '-' || partition || '-' || "offset" AS id, last_failed_at AS failed_at, state, step, verdict, reason,
       message, sqlstate, attempts
FROM dead_letters WHERE event_id = %s ORDER BY last_failed_at"""
_DEATHS_OF_CORRELATION = """
SELECT topic || '-' || partition || '-' || "offset" AS id, last_failed_at AS failed_at, state, step, verdict, reason,
       message, sqlstate, attempts, event_id
FROM dead_letters WHERE correlation_id = %s ORDER BY last_failed_at DESC LIMIT %s"""
_LIST = """
SELECT event_id, status, created_at, updated_at, retry_count, correlation_id,
       source_topic, source_partition, source_offset
FROM events
WHERE (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(correlation_id)s::text IS NULL OR correlation_id = %(correlation_id)s)
  AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
ORDER BY created_at DESC, event_id LIMIT %(limit)s"""
NO_FILTER = {"status": None, "correlation_id": None, "since": None, "until": None}


class EventSearch:
    """Queries of events, on a connection in autocommit."""

    def __init__(self, connection: Connection) -> None:
        set_json_loads(_as_text, connection)
        self._connection = connection

    def event(self, event_id: str) -> dict[str, Any] | None:
        """Return the event's row, with payload and metadata as `JsonText`."""
        return next(iter(self._rows(_EVENT, [event_id])), None)

    def deaths(self, event_id: str) -> list[dict[str, Any]]:
        """Return the event's dead letters, oldest first."""
        return self._rows(_DEATHS, [event_id])

    def deaths_of_correlation(self, correlation_id: str, limit: int) -> list[dict[str, Any]]:
        """Return dead letters of a correlation id, newest first. There is no index for it: a scan."""
        return self._rows(_DEATHS_OF_CORRELATION, [correlation_id, limit])

    def matching(self, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield rows, newest first by the event's own time; ``given``: `NO_FILTER`'s names, and ``limit``.

        Through a cursor on the server: a long list does not have to fit in memory.
        """
        cursor = self._connection.cursor("events_list", row_factory=dict_row)
        with self._connection.transaction(), cursor:
            cursor.itersize = _FETCH
            yield from cursor.execute(_LIST, given)

    def _rows(self, query: Any, given: list[Any]) -> list[dict[str, Any]]:  # noqa: ANN401
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, given).fetchall()


def _as_text(data: str | bytes) -> JsonText:
    return JsonText(data if isinstance(data, str) else data.decode())
