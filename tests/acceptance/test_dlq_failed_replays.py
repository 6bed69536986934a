"""What is left of a replay that failed, or that was resumed under another dead letter topic."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing

import pytest

from keepstream.app.errors import FAILED, NOT_FOUND, REFUSED
from keepstream.sinks.postgres.replays import PostgresReplayLedger, ReplayBusyError
from tests.acceptance.dead_letters import SeededTopic
from tests.real import eventually

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


def test_neither_a_dry_run_nor_waiting_for_outcomes_needs_the_lock(dlq: SeededTopic) -> None:
    dlq.add(1)
    target = dlq.kafka.new_topic()  # which no worker consumes: the outcome stays unknown
    with dlq.database.connect() as connection, closing(PostgresReplayLedger(connection, dlq.topic)) as other:
        other.lock()
        assert dlq.run("dlq", "replay", "--dry-run").exit_code == 0
        assert dlq.run("dlq", "replay", "--yes").exit_code == REFUSED
        other.unlock()
        argv = dlq.argv("dlq", "replay", "--yes", "--to-topic", target, "--wait", "--wait-timeout", "60")
        waiting = subprocess.Popen(argv, env={**os.environ, **dlq.settings()})
        try:
            eventually(lambda: dlq.database.value("SELECT count(*) FROM replays WHERE state = 'finished'") == 1, 60)
            eventually(lambda: can_lock(other), 10)
            assert waiting.poll() is None
        finally:
            waiting.kill()
            waiting.wait()


def can_lock(ledger: PostgresReplayLedger) -> bool:
    try:
        ledger.lock()
    except ReplayBusyError:
        return False
    return True


def test_a_replay_of_another_topic_stays_as_it_is(dlq: SeededTopic) -> None:
    dlq.database.execute(
        "INSERT INTO replays (dlq_topic, selection, started_by, state, finished_at) "
        "VALUES ('other-dlq', '{}', 'me', 'finished', now())"
    )
    answer = dlq.run("dlq", "replay", "--resume", "1")
    assert answer.exit_code == NOT_FOUND
    assert "Nothing was changed" in answer.errors
    assert dlq.database.rows("SELECT state, passes, finished_at IS NULL FROM replays") == [("finished", 1, False)]
