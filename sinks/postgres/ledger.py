"""The ledger rows of dead letters, as the JSON document that `sql/buried.sql` reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from keepstream.schemas.dead_letter import capped
from keepstream.sinks.postgres.connection import JsonDocument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keepstream.schemas.dead_letter import DeadLetter


def ledger_document(letters: Sequence[DeadLetter]) -> JsonDocument:
    """Return one JSON array; texts are capped and free of NUL, which headers may hold and jsonb may not."""
    return JsonDocument(json.dumps([_row(letter) for letter in letters]).encode())


def _row(letter: DeadLetter) -> dict[str, Any]:
    record, failure = letter.record, letter.failure
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "event_id": _clean(letter.event_id),
        "correlation_id": _clean(letter.correlation_id),
        "step": failure.step.value,
        "verdict": failure.verdict.value,
        "reason": failure.reason,
        "message": _clean(failure.message),
        "sqlstate": failure.sqlstate,
        "attempts": failure.attempts,
        "first_failed_at": letter.first_failed_at.isoformat(),
        "last_failed_at": letter.last_failed_at.isoformat(),
        "replay_count": letter.replay_count,
        "place": letter.place,
    }


def _clean(text: str | None) -> str | None:
    return None if text is None else capped(text).decode().replace("\0", "\ufffd")
