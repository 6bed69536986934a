"""Faust's traps, the second half: what its commits and its arithmetic over offsets do. See `test_faust_traps`."""

from __future__ import annotations

import pytest

from tests.contract.faust_fixtures import UNCHANGED_S, StartOffset
from tests.contract.faust_probe import QUEUED
from tests.contract.faust_program import SMALL_RECORDS, TOO_LARGE, Transactions, numbers, stays
from tests.real import Kafka, eventually

pytestmark = [pytest.mark.real, pytest.mark.long]


def test_commits_go_past_a_record_in_flight(start: StartOffset, kafka: Kafka) -> None:
    """T9: a head that is missing goes unnoticed, in a new group (record 0) and one after a commit (record 5)."""
    topic = kafka.new_topic()
    kafka.produce(topic, numbers(0, 5))
    fresh = start(topic, loop="iterate", concurrency=2, actions={"0": "hang"})
    running = start(topic, loop="iterate", concurrency=2, actions={"5": "hang"})
    fresh.wait_for_commit(5)
    running.wait_for_commit(5)
    kafka.produce(topic, numbers(5, 12))
    running.wait_for_commit(12)
    for program, in_flight in ((fresh, 0), (running, 5)):
        program.kill()
        assert program.said("hang") == [in_flight]
        assert in_flight not in program.processed


def test_a_record_behind_a_hole_counts_as_acknowledged_while_it_runs(start: StartOffset, kafka: Kafka) -> None:
    """T10: `_add_gap` takes the record that revealed the hole for a part of it.

    Without that, 5 and 6 would be missing from what is acknowledged, and even T9's check would hold the commit back.
    """
    topic = kafka.new_topic()
    transactions = Transactions(kafka.bootstrap_servers, topic)
    transactions.commit(numbers(0, 5))
    program = start(topic, loop="iterate", concurrency=2, actions={"6": "hang"})
    program.wait_for_commit(5)
    transactions.commit(numbers(6, 12))
    program.wait_for_commit(12)
    program.kill()
    assert program.processed == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]


def test_without_cython_records_of_an_old_generation_are_acknowledged_unseen(start: StartOffset, topic: str) -> None:
    """T11: both paths skip them, only the pure Python one acknowledges.

    The generation is moved by the program itself, as the driver does it at a rebalance; everything else is a real run.
    """
    actions = {"0": "next_generation"}
    pure, compiled = (start(topic, loop="iterate", actions=actions, env={"NO_CYTHON": flag}) for flag in ("1", ""))
    compiled.wait_for_commit(1)
    eventually(lambda: (pure.committed() or 0) > QUEUED, what="a commit past the queued records")
    stays(lambda: compiled.committed() == 1, UNCHANGED_S, "it committed more")
    assert pure.processed == compiled.processed == [0]


def test_pausing_partitions_drops_what_was_already_fetched(start: StartOffset, kafka: Kafka) -> None:
    """T12: the rest of the fetch is thrown away, and what was thrown away counts as a hole: it is committed."""
    topic = kafka.new_topic()
    kafka.produce(topic, numbers(0, 1000))
    program = start(topic, loop="iterate", max_poll_records=500, actions={"10": "pause"})
    program.wait_for_commit(1000)
    program.kill()
    lost = set(range(1000)) - set(program.processed)
    assert max(lost) == 499
    assert len(lost) > 300


def test_a_sent_record_is_not_a_delivered_one(start: StartOffset, kafka: Kafka, topic: str) -> None:
    """T13: `send()` returns a future that nobody has to look at.

    Each commit flushes the producer first; but a record that the broker refuses is gone, and its source is committed.
    """
    dlq_topic, actions = kafka.new_topic(config=SMALL_RECORDS), {"3": "dead_letter"}
    program = start(topic, loop="iterate", dlq_topic=dlq_topic, dead_letter_size=TOO_LARGE, actions=actions)
    program.wait_for_commit(10)
    program.kill()
    assert program.said("confirmed") == [False]
    assert kafka.read(dlq_topic) == []


def test_after_a_failed_commit_none_ever_succeeds(start: StartOffset, kafka: Kafka) -> None:
    """T30: the list of what is acknowledged is cut before the commit.

    When Faust's own timer meets the error the program ends (and restarts well); a commit that the program asks for
    itself, and survives, leaves the partition behind for ever.
    """
    topic = kafka.new_topic()
    kafka.produce(topic, numbers(0, 20))
    actions = {"4": "commit", "9": "failing_commit", "14": "commit", "19": "commit"}
    program = start(topic, loop="iterate", commit_interval_s=3600, actions=actions)
    program.wait_for("processed", times=20)
    assert program.said("committed") == [True, False, False]
    assert program.said("commit failed") == ["broker away"]
    assert program.committed() == 4


def test_a_hole_right_after_offset_0_stops_the_commits_for_ever(start: StartOffset, kafka: Kafka) -> None:
    """T31: it takes two missing offsets or more; one alone slips through by T9."""
    wide, narrow = kafka.new_topic(config=SMALL_RECORDS), kafka.new_topic()
    transactions = Transactions(kafka.bootstrap_servers, wide)
    transactions.commit(numbers(0, 1))
    transactions.marker_only()
    transactions.marker_only()
    Transactions(kafka.bootstrap_servers, narrow).commit(numbers(0, 1))
    kafka.produce(wide, numbers(4, 10))
    kafka.produce(narrow, numbers(2, 10))
    stalled, control = start(wide, loop="iterate"), start(narrow, loop="iterate")
    control.wait_for_commit(10)
    stalled.wait_for("processed", times=7)
    stalled.wait_for_commit(1)
    stays(lambda: stalled.committed() == 1, UNCHANGED_S, "it committed more")
    assert stalled.processed == [0, 4, 5, 6, 7, 8, 9]
