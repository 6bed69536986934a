"""Faust's traps, pinned on a real broker: a plain Faust program loses records or stalls, exactly so.

Each test says why keepstream does not use that part of Faust. A test that fails after an upgrade of Faust is good
news: the guard it justifies (docs/decisions.md, "Faust") may go. The other half, that keepstream does not fall into
the same traps, is `test_faust_guards`. "Lost" means: committed by the program, never processed by it.
"""

from __future__ import annotations

import signal
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.contract.faust_probe import QUEUED, Plan
from tests.contract.faust_program import SMALL_RECORDS, TOO_LARGE, FaustProgram, Transactions, numbers, stays
from tests.real import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.real import Kafka

pytestmark = pytest.mark.real

UNCHANGED_S = 1.0
"""How long is watched that nothing happens: several commit intervals, and more than a healthy program's reaction."""


class Start(Protocol):
    def __call__(self, topic: str, *, env: Mapping[str, str] | None = None, **plan: Any) -> FaustProgram: ...


@pytest.fixture
def start(kafka: Kafka) -> Iterator[Start]:
    """Start programs, each a group of its own; they end with the test."""
    with ExitStack() as programs:

        def start(topic: str, *, env: Mapping[str, str] | None = None, **plan: Any) -> FaustProgram:
            group = f"trap-{uuid.uuid4().hex[:12]}"
            return programs.enter_context(FaustProgram(Plan(kafka.bootstrap_servers, topic, group, **plan), env or {}))

        yield start


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """A topic with the records 0 to 9."""
    name = kafka.new_topic()
    kafka.produce(name, numbers(0, 10))
    return name


def test_take_commits_the_batch_whose_body_raised(start: Start, topic: str) -> None:
    """T1: `take()` and `take_events()` acknowledge in a `finally`."""
    for program in [start(topic, loop=loop, actions={"1": "raise"}) for loop in ("take", "take_events")]:
        program.wait_for_commit(10)
        program.kill()
        assert program.processed == [5, 6, 7, 8, 9]


def test_iterating_commits_the_record_whose_body_raised(start: Start, topic: str) -> None:
    """T2: `async for value in stream` and `events()` acknowledge in a `finally` as well."""
    for program in [start(topic, loop=loop, actions={"3": "raise"}) for loop in ("iterate", "events")]:
        program.wait_for_commit(10)
        program.kill()
        assert program.processed == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_noack_take_commits_past_a_single_record_that_failed(start: Start, kafka: Kafka) -> None:
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


def test_noack_take_never_commits_again_after_a_batch_that_failed(start: Start, kafka: Kafka) -> None:
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


def test_after_two_exceptions_a_burst_is_committed_that_no_code_has_seen(start: Start, kafka: Kafka) -> None:
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


def test_a_generator_in_a_variable_stalls_after_one_exception(start: Start, kafka: Kafka) -> None:
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


def test_a_graceful_stop_commits_what_is_in_flight(start: Start, topic: str) -> None:
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


def test_a_crash_commits_what_is_in_flight(start: Start, topic: str) -> None:
    """T7: `app.crash()` and `CrashingSupervisor` end the program the way of T6.

    Not each time: one crash in ten or so commits nothing, because the consumer's thread is gone before, and some hang
    instead of ending (T35). So each is tried twice at once, and nobody waits for the end.
    """
    crashed = [start(topic, actions={"0": "crash"}) for _ in range(2)]
    supervised = [start(topic, actions={"0": "raise"}, crashing=True) for _ in range(2)]
    for programs in (crashed, supervised):
        eventually(lambda programs=programs: any(program.committed() for program in programs))  # type: ignore[misc]
        assert [program.processed for program in programs] == [[], []]


def test_an_undecodable_record_is_lost_and_take_stalls_for_ever(start: Start, kafka: Kafka) -> None:
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


def test_commits_go_past_a_record_in_flight(start: Start, kafka: Kafka) -> None:
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


def test_a_record_behind_a_hole_counts_as_acknowledged_while_it_runs(start: Start, kafka: Kafka) -> None:
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


def test_without_cython_records_of_an_old_generation_are_acknowledged_unseen(start: Start, topic: str) -> None:
    """T11: both paths skip them, only the pure Python one acknowledges.

    The generation is moved by the program itself, as the driver does it at a rebalance; everything else is a real run.
    """
    actions = {"0": "next_generation"}
    pure, compiled = (start(topic, loop="iterate", actions=actions, env={"NO_CYTHON": flag}) for flag in ("1", ""))
    compiled.wait_for_commit(1)
    eventually(lambda: (pure.committed() or 0) > QUEUED, what="a commit past the queued records")
    stays(lambda: compiled.committed() == 1, UNCHANGED_S, "it committed more")
    assert pure.processed == compiled.processed == [0]


def test_pausing_partitions_drops_what_was_already_fetched(start: Start, kafka: Kafka) -> None:
    """T12: the rest of the fetch is thrown away, and what was thrown away counts as a hole: it is committed."""
    topic = kafka.new_topic()
    kafka.produce(topic, numbers(0, 1000))
    program = start(topic, loop="iterate", max_poll_records=500, actions={"10": "pause"})
    program.wait_for_commit(1000)
    program.kill()
    lost = set(range(1000)) - set(program.processed)
    assert max(lost) == 499
    assert len(lost) > 300


def test_a_sent_record_is_not_a_delivered_one(start: Start, kafka: Kafka, topic: str) -> None:
    """T13: `send()` returns a future that nobody has to look at.

    Each commit flushes the producer first; but a record that the broker refuses is gone, and its source is committed.
    """
    dlq_topic, actions = kafka.new_topic(config=SMALL_RECORDS), {"3": "dead_letter"}
    program = start(topic, loop="iterate", dlq_topic=dlq_topic, dead_letter_size=TOO_LARGE, actions=actions)
    program.wait_for_commit(10)
    program.kill()
    assert program.said("confirmed") == [False]
    assert kafka.read(dlq_topic) == []


def test_after_a_failed_commit_none_ever_succeeds(start: Start, kafka: Kafka) -> None:
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


def test_a_hole_right_after_offset_0_stops_the_commits_for_ever(start: Start, kafka: Kafka) -> None:
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
    stays(lambda: stalled.committed() == 1, UNCHANGED_S, "it committed more")
    assert stalled.processed == [0, 4, 5, 6, 7, 8, 9]
