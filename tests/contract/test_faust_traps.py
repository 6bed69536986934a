"""Faust's traps, pinned on a real broker: a plain Faust program loses records or stalls, exactly so.

Each test says why keepstream does not use that part of Faust. A test that fails after an upgrade of Faust is good
news: the guard it justifies (docs/decisions.md, "Faust") may go. The other half, that keepstream does not fall into
the same traps, is `test_faust_guards`. "Lost" means: committed by the program, never processed by it.
"""

from __future__ import annotations

import signal

import pytest

from tests.contract.faust_fixtures import UNCHANGED_S, StartOffset
from tests.contract.faust_program import numbers, stays
from tests.real import Kafka, eventually

pytestmark = [pytest.mark.real, pytest.mark.long]


def test_take_commits_the_batch_whose_body_raised(start: StartOffset, topic: str) -> None:
    """T1: `take()` and `take_events()` acknowledge in a `finally`."""
    for program in [start(topic, loop=loop, actions={"1": "raise"}) for loop in ("take", "take_events")]:
        program.wait_for_commit(10)
        program.kill()
        assert program.processed == [5, 6, 7, 8, 9]


def test_iterating_commits_the_record_whose_body_raised(start: StartOffset, topic: str) -> None:
    """T2: `async for value in stream` and `events()` acknowledge in a `finally` as well."""
    for program in [start(topic, loop=loop, actions={"3": "raise"}) for loop in ("iterate", "events")]:
        program.wait_for_commit(10)
        program.kill()
        assert program.processed == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_noack_take_commits_past_a_single_record_that_failed(start: StartOffset, kafka: Kafka) -> None:
    """T3 with batches of one: nothing reads the record again, and the next commit goes past it (through T9)."""
    topic = kafka.new_topic()
    kafka.produce(topic, numbers(0, 4))
    program = start(topic, loop="noack_take", size=1, actions={"3": "raise"})
    program.wait_for("started", times=2)
    program.wait_for_commit(3)
    kafka.produce(topic, numbers(4, 10))
    program.wait_for_commit(10)
    program.kill()
    assert program.processed == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_noack_take_never_commits_again_after_a_batch_that_failed(start: StartOffset, kafka: Kafka) -> None:
    """T3 with larger batches: the records that follow are processed, but the commits stop until a restart."""
    topic = kafka.new_topic()
    kafka.produce(topic, numbers(0, 6))
    program = start(topic, loop="noack_take", size=3, actions={"3": "raise"})
    program.wait_for("started", times=2)
    program.wait_for_commit(3)
    kafka.produce(topic, numbers(6, 12))
    program.wait_for("processed", times=9)
    stays(lambda: program.committed() == 3, UNCHANGED_S, "it committed again")
    assert program.processed == [0, 1, 2, 6, 7, 8, 9, 10, 11]


def test_after_two_exceptions_a_burst_is_committed_that_no_code_has_seen(start: StartOffset, kafka: Kafka) -> None:
    """T4: the drainer outlives the agent, and the dying generator has switched acknowledging back on.

    Lost is far more than the ten records of the batches that failed. With batches of one a single exception can be
    enough, but not always.
    """
    topic = kafka.new_topic()
    kafka.produce(topic, numbers(0, 30))
    actions = {"0": "raise", "5": "raise"}
    for program in [start(topic, loop=loop, actions=actions) for loop in ("noack_take", "take")]:
        program.wait_for_commit(30)
        program.kill()
        assert len(program.processed) <= 10


def test_a_generator_in_a_variable_stalls_after_one_exception(start: StartOffset, kafka: Kafka) -> None:
    """T5: the traceback keeps the dead generator alive, and its buffer takes what the new one should get."""
    topic = kafka.new_topic()
    kafka.produce(topic, numbers(0, 5))
    stalled = start(topic, loop="noack_take_in_a_variable", actions={"0": "raise"})
    control = start(topic, loop="noack_take", actions={"0": "raise"})
    for program in (stalled, control):
        program.wait_for("started", times=2)
    kafka.produce(topic, numbers(5, 10))
    control.wait_for("processed", times=5)
    stays(lambda: stalled.processed == [], UNCHANGED_S, "it processed something")


def test_a_graceful_stop_commits_what_is_in_flight(start: StartOffset, topic: str) -> None:
    """T6: the stop cancels the agent, which acknowledges, and commits after that. `noack_take` alone is safe."""
    expected = {"take": 5, "iterate": 1, "noack_take": None}
    programs = {loop: start(topic, loop=loop, actions={"0": "hang"}, wait_empty=False) for loop in expected}
    for program in programs.values():
        program.wait_for("hang")
        program.send_signal(signal.SIGTERM)
    for loop, program in programs.items():
        assert program.wait() == 0
        assert program.processed == []
        assert program.committed() == expected[loop]


def test_a_crash_commits_what_is_in_flight(start: StartOffset, topic: str) -> None:
    """T7: `app.crash()` and `CrashingSupervisor` end the program the way of T6.

    Not each time: one crash in ten or so commits nothing, because the consumer's thread is gone before, and some hang
    instead of ending (T35). So each is tried twice at once, and nobody waits for the end.
    """
    crashed = [start(topic, actions={"0": "crash"}) for _ in range(2)]
    supervised = [start(topic, actions={"0": "raise"}, crashing=True) for _ in range(2)]
    for programs in (crashed, supervised):
        eventually(lambda programs=programs: any(program.committed() for program in programs))  # type: ignore[misc]
        assert [program.processed for program in programs] == [[], []]


def test_an_undecodable_record_is_lost_and_take_stalls_for_ever(start: StartOffset, kafka: Kafka) -> None:
    """T8: the record is acknowledged unseen. A plain loop restarts; under `take()` the agent returns and stays away."""
    topic = kafka.new_topic()
    kafka.produce(topic, numbers(0, 5))
    plain, taking = start(topic, loop="iterate"), start(topic, loop="take")
    for program in (plain, taking):
        program.wait_for_commit(5)
    kafka.produce(topic, [b"not json", *numbers(6, 12)])
    plain.wait_for_commit(12)
    taking.wait_for_commit(6)
    stays(lambda: taking.processed == [0, 1, 2, 3, 4], UNCHANGED_S, "it processed more")
    assert plain.processed == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    assert taking.committed() == 6
