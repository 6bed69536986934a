"""Replaying: whatever is selected, killed and resumed, each letter goes out once and the sum is right."""

from __future__ import annotations

import random
import struct
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepstream.processors.replay import replay as replay_module
from keepstream.processors.replay.outgoing import build_replay_record
from keepstream.processors.replay.replay import Replay
from keepstream.processors.replay.selection import Selection
from keepstream.schemas.dead_letter import REPLAY_COUNT, dead_letter_headers
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.header_names import KNOWN
from keepstream.schemas.record import KafkaRecord
from keepstream.schemas.replay import ReplayOptions, ReplayRecord, ReplayRun, ReplayState
from tests.builders import make_dead_letter, make_failure, make_record, make_value
from tests.replay_fakes import Killed, MemoryLedger, MemoryReplayProducer

REASONS = ("check_violation", "invalid_json")


def make_buried(
    offset: int, reason: str = REASONS[0], replays: int = 0, value: bytes | None = None
) -> DeadLetterRecord:
    """A dead letter as it stands in the topic."""
    headers = [("trace", b"1"), (REPLAY_COUNT, str(replays).encode())]
    died = make_dead_letter(
        make_record(value or make_value(), offset, headers=headers), failure=make_failure(reason=reason)
    )
    record = died.record
    written = dead_letter_headers(died, "1")
    return DeadLetterRecord(KafkaRecord("event-dlq", 0, offset, record.timestamp, record.key, record.value, written))


def out_ids(producer: MemoryReplayProducer) -> list[str]:
    return [letter.dead_letter_id for log in producer.topics.values() for letter in log]


def run_of(pass_number: int = 1, options: ReplayOptions | None = None) -> ReplayRun:
    return ReplayRun(7, pass_number, {0: 1000}, options or ReplayOptions())


def test_a_replay_sends_home_what_it_should_and_keeps_the_rest() -> None:
    letter = make_buried(3)
    producer = MemoryReplayProducer()
    result = Replay(run_of(), MemoryLedger(), producer).execute([letter])
    (sent,) = producer.topics["events"]
    assert (sent.key, sent.value, sent.timestamp) == (letter.record.key, letter.record.value, letter.record.timestamp)
    headers = dict(sent.headers)
    assert headers[REPLAY_COUNT] == b"1"
    assert headers["trace"] == b"1"
    assert headers["__connect.errors.topic"] == b"events"
    assert not {"__connect.errors.stage", "__connect.errors.exception.message", "keepstream.dlq.reason"} & set(headers)
    assert result.adds_up
    assert (result.selected, result.replayed) == (1, 1)


def test_a_letter_replayed_too_often_is_parked_with_everything_it_carried() -> None:
    letter = make_buried(3, replays=3)
    producer = MemoryReplayProducer()
    result = Replay(run_of(), MemoryLedger(), producer).execute([letter])
    (parked,) = producer.topics["event-dlq-parked"]
    assert list(parked.headers)[: len(letter.record.headers)] == list(letter.record.headers)
    assert (result.selected, result.skipped, result.replayed) == (1, 1, 0)
    assert result.adds_up


def test_a_parked_letter_of_another_system_keeps_its_timestamp_in_a_header() -> None:
    """The broker dates what is parked."""
    letter = DeadLetterRecord(make_record(timestamp=5, headers=[("source_topic", b"events")]))
    parked = build_replay_record(letter, run_of(options=ReplayOptions(max_replays=0)))
    assert parked.parks
    assert list(parked.headers[:2]) == [("keepstream.dlq.original-timestamp", b"5"), ("source_topic", b"events")]


SPRING = [
    ("own", b"1"), ("kafka_original-topic", b"orders"), ("kafka_original-partition", struct.pack(">i", 3)),
    ("kafka_original-offset", struct.pack(">q", 42)), ("kafka_original-timestamp", struct.pack(">q", 7)),
    ("kafka_original-timestamp-type", b"CreateTime"), ("kafka_dlt-original-consumer-group", b"billing"),
    ("kafka_exception-fqcn", b"a.B"), ("retry_topic-attempts", struct.pack(">i", 5)),
    ("retry_topic-backoff-timestamp", b"\1\2"),
]  # fmt: skip
WATERMILL = [("own", b"1"), ("topic_poisoned", b"orders"), ("reason_poisoned", b"no"), ("handler_poisoned", b"h")]


def test_a_letter_of_another_system_goes_out_with_the_timestamp_of_its_record() -> None:
    """A row that was stored since must not look older than the replayed record."""
    sent = build_replay_record(DeadLetterRecord(make_record(timestamp=9, headers=SPRING)), run_of())
    assert (sent.topic, sent.timestamp, sent.dead_letter_id) == ("orders", 7, "orders-3-42@billing")


def test_the_next_death_of_a_replayed_record_is_another_letter() -> None:
    """`@RetryableTopic` keeps the headers of an origin that it finds; SmallRye puts its own in front of them."""
    sent = build_replay_record(DeadLetterRecord(make_record(headers=SPRING)), run_of())
    assert [name for name, _ in sent.headers if not name.startswith("keepstream.dlq.")] == ["own"]
    smallrye = [("dead-letter-topic", b"orders"), ("dead-letter-partition", b"3"), ("dead-letter-offset", b"42")]
    sent = build_replay_record(DeadLetterRecord(make_record(headers=smallrye)), run_of())
    again = [("dead-letter-topic", b"orders"), ("dead-letter-partition", b"3"), ("dead-letter-offset", b"99")]
    assert DeadLetterRecord(make_record(headers=[*again, *sent.headers])).id == "orders-3-99"


def test_a_letter_of_watermill_goes_out_without_its_error() -> None:
    sent = build_replay_record(DeadLetterRecord(make_record(headers=WATERMILL)), run_of())
    assert sent.topic == "orders"
    assert not {"reason_poisoned", "handler_poisoned"} & dict(sent.headers).keys()


def test_a_replay_drops_what_the_settings_name() -> None:
    names = KNOWN.preceded_by({"topic": "our-topic", "message": "our-message"})
    headers = [("own", b"1"), ("our-topic", b"orders"), ("our-message", b"no")]
    sent = build_replay_record(DeadLetterRecord(make_record(headers=headers), names), run_of())
    assert sent.topic == "orders"
    assert not {"our-topic", "our-message"} & dict(sent.headers).keys()


def test_copies_of_one_death_go_out_once() -> None:
    copies = [make_buried(3), make_buried(3), make_buried(4)]
    producer = MemoryReplayProducer()
    result = Replay(run_of(), MemoryLedger(), producer).execute(copies)
    assert out_ids(producer) == ["events-0-3", "events-0-4"]
    assert (result.selected, result.adds_up) == (2, True)


def test_what_is_resolved_is_not_selected() -> None:
    ledger = MemoryLedger(resolved={"events-0-3"})
    result = Replay(run_of(), ledger, MemoryReplayProducer()).execute([make_buried(3), make_buried(4)])
    assert (result.selected, result.replayed) == (1, 1)


def test_a_limit_counts_selected_letters() -> None:
    producer = MemoryReplayProducer()
    run = run_of(options=ReplayOptions(limit=5))
    result = Replay(run, MemoryLedger(), producer).execute(make_buried(i) for i in range(100))
    assert (result.selected, len(out_ids(producer))) == (5, 5)


def test_a_rate_is_kept_on_an_open_schedule() -> None:
    slept: list[float] = []
    run = run_of(options=ReplayOptions(rate=100))
    replay = Replay(run, MemoryLedger(), MemoryReplayProducer(), sleep=slept.append, clock=lambda: 0.0)
    replay.execute(make_buried(i) for i in range(60))
    assert slept == pytest.approx([0.2, 0.4, 0.6])


def test_a_change_that_fits_no_payload_fails_that_letter_only() -> None:
    letters = [make_buried(1, value=b"no json"), make_buried(2)]
    run = run_of(options=ReplayOptions(changes=(("payload.amount", "5"),)))
    producer = MemoryReplayProducer()
    result = Replay(run, MemoryLedger(), producer).execute(letters)
    assert out_ids(producer) == ["events-0-2"]
    assert (result.replayed, result.failed, result.adds_up) == (1, 1, True)


def test_a_failed_letter_that_a_killed_pass_has_sent_again_is_not_sent_a_third_time() -> None:
    """Simulation, seed 264 of its first day: only letters that were never tried counted as uncertain."""
    dying: set[str] = set()

    def die(edge: str) -> None:
        if edge in dying:
            raise Killed

    ledger, topics = MemoryLedger(die), dict[str, list[ReplayRecord]]()
    refused = Replay(run_of(1), ledger, MemoryReplayProducer(topics=topics, refuse=lambda _letter: True)).execute(
        [make_buried(3)]
    )
    assert (refused.failed, topics) == (1, {})
    dying.add("before record")
    with pytest.raises(Killed):
        Replay(run_of(2), ledger, MemoryReplayProducer(topics=topics)).execute([make_buried(3)])
    dying.clear()
    producer = MemoryReplayProducer(topics=topics)
    result = Replay(run_of(3), ledger, producer).execute([make_buried(3)])
    assert out_ids(producer) == ["events-0-3"]
    assert (result.selected, result.replayed, result.adds_up) == (1, 1, True)


@mock.patch.object(replay_module, "CHUNK", 4)
@given(
    seed=st.integers(0, 2**32),
    kills=st.integers(0, 6),
    selectors=st.sampled_from([Selection(), Selection(reasons=(REASONS[0],)), Selection(from_offset=7)]),
    count=st.integers(0, 40),
    limit=st.none() | st.integers(1, 30),
)
@settings(max_examples=300, deadline=None)
def test_any_mix_of_selectors_kills_and_resumes_adds_up_and_sends_each_letter_once(
    seed: int, kills: int, selectors: Selection, count: int, limit: int | None
) -> None:
    rng = random.Random(seed)
    letters = [make_buried(i, rng.choice(REASONS), rng.choice((0, 0, 0, 3))) for i in range(count)]
    letters += [letter for letter in letters if rng.random() < 0.2]  # copies
    left = kills

    def die(_edge: str) -> None:
        nonlocal left
        if left and rng.random() < 0.2:
            left -= 1
            raise Killed

    ledger, producer = MemoryLedger(die), MemoryReplayProducer(die)
    options = ReplayOptions(limit=limit)
    result = None
    for pass_number in range(1, kills + 2):
        try:
            run = run_of(pass_number, options)
            result = Replay(run, ledger, producer).execute(filter(selectors.matches, letters))
            break
        except Killed:
            continue
    assert result is not None
    expected = list({letter.id: letter for letter in filter(selectors.matches, letters)})[:limit]
    assert result.adds_up
    assert result.selected == len(expected)
    assert sorted(out_ids(producer)) == sorted(expected)
    assert {e.state for e in ledger.entries.values()} <= {ReplayState.PRODUCED, ReplayState.PARKED}


def test_a_replay_that_is_told_to_stop_ends_after_its_chunk_with_the_right_sum() -> None:
    worked: list[int] = []
    run = run_of(options=ReplayOptions(rate=50))  # chunks of 10
    replay = Replay(
        run, MemoryLedger(), MemoryReplayProducer(), worked.append, lambda: len(worked) == 2, lambda _s: None
    )
    result = replay.execute(make_buried(i) for i in range(100))
    assert worked == [10, 20]
    assert (result.selected, result.replayed) == (20, 20)
