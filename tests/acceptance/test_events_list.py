"""`keepstream events list`."""

from __future__ import annotations

import pytest

from tests.acceptance.dead_letters import SeededTopic, without_postgres

pytestmark = pytest.mark.real


def test_events_are_listed_newest_first_and_filtered(dlq: SeededTopic) -> None:
    for number, status in enumerate(["delivered", "failed", "pending", "delivered"]):
        dlq.database.execute(
            "INSERT INTO events (event_id, payload, status, created_at, correlation_id, source_topic, source_partition,"
            " source_offset) VALUES (%s, '{}', %s, %s::timestamptz + %s * interval '1 hour', %s, 'events', 0, %s)",
            f"e-{number}", status, "2026-11-24T12:00:00Z", number, f"c-{number % 2}", number,
        )  # fmt: skip

    def listed(*arguments: str) -> list[str]:
        return [row["event_id"] for row in dlq.here("events", "list", "--json", *arguments).rows]

    assert listed() == ["e-3", "e-2", "e-1", "e-0"]
    assert listed("--status", "delivered") == ["e-3", "e-0"]
    assert listed("--correlation-id", "c-1") == ["e-3", "e-1"]
    assert listed("--since", "2026-11-24T13:00:00Z", "--until", "2026-11-24T15:00:00Z") == ["e-2", "e-1"]
    assert listed("--limit", "1") == ["e-3"]
    assert "e-3" in dlq.run("events", "list").text
    assert dlq.run("events", "list", "--until", "soon").exit_code == 2
    assert dlq.run("events", "list", **without_postgres()).exit_code == 4


def test_numbers_are_shown_as_they_are_stored(dlq: SeededTopic) -> None:
    digits = "0.123456789012345678901234567890"
    dlq.database.execute(
        "INSERT INTO events (event_id, payload, status, created_at, source_topic, source_partition, source_offset)"
        " VALUES ('digits', %s, 'delivered', now(), 'events', 0, 99)",
        f'{{"long": {digits}, "tiny": 1e-30, "n": {"9" * 5000}}}',
    )  # fmt: skip
    for arguments in (["--json"], []):
        shown = dlq.run("events", "show", "digits", *arguments).text
        assert f'{{"n": {"9" * 5000}, "long": {digits}, "tiny": 0.{"0" * 29}1}}' in shown
