"""What is left of a replay that failed, or that was resumed under another dead letter topic."""

from __future__ import annotations

import pytest

from keepstream.app.errors import FAILED, NOT_FOUND
from tests.acceptance.dead_letters import SeededTopic

pytestmark = pytest.mark.real

OF_CONNECT = [
    ("__connect.errors.topic", b"gone"), ("__connect.errors.partition", b"0"), ("__connect.errors.offset", b"7"),
    ("__connect.errors.exception.class.name", b"DataException"),
]  # fmt: skip


def test_a_dead_letter_of_another_system_that_was_not_sent_stays_listed_and_says_why(dlq: SeededTopic) -> None:
    dlq.produce(b"no json", b"k", OF_CONNECT)
    assert dlq.run("dlq", "replay", "--yes", "--set", "a=1").exit_code == FAILED
    (row,) = dlq.run("dlq", "list", "--json").rows
    assert (row["id"], row["state"]) == ("gone-0-7", "failed")
    assert dlq.run("dlq", "stats", "--json").rows[0]["letters"] == 1
    (replay,) = dlq.run("dlq", "show", "gone-0-7", "--json").rows[0]["replays"]
    assert "not JSON" in replay["error"]
    assert "not JSON" in dlq.run("dlq", "show", "gone-0-7").text


def test_a_replay_of_another_topic_stays_as_it_is(dlq: SeededTopic) -> None:
    dlq.database.execute(
        "INSERT INTO replays (dlq_topic, selection, started_by, state, finished_at) "
        "VALUES ('other-dlq', '{}', 'me', 'finished', now())"
    )
    answer = dlq.run("dlq", "replay", "--resume", "1")
    assert answer.exit_code == NOT_FOUND
    assert "Nothing was changed" in answer.errors
    assert dlq.database.rows("SELECT state, passes, finished_at IS NULL FROM replays") == [("finished", 1, False)]
