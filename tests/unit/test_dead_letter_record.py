"""Whatever others wrote into a dead letter's headers is read, and nonsense is nothing."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.processors.replay.outgoing import target_topic_of
from keepstream.schemas.dead_letter import dead_letter_headers, to_record
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.failure import Step, Verdict
from keepstream.schemas.header_names import KNOWN
from keepstream.schemas.replay import ReplayOptions
from tests.builders import make_dead_letter, make_failure, make_record

WRITTEN_BY = {
    "Kafka Connect": [
        ("__connect.errors.topic", b"orders"), ("__connect.errors.partition", b"3"), ("__connect.errors.offset", b"42"),
        ("__connect.errors.stage", b"VALUE_CONVERTER"), ("__connect.errors.exception.class.name", b"a.B"),
        ("__connect.errors.exception.message", b"no"), ("__connect.errors.task.id", b"0"),
    ],
    "Kafka Streams": [
        ("__streams.errors.topic", b"orders"), ("__streams.errors.partition", b"3"), ("__streams.errors.offset", b"42"),
        ("__streams.errors.exception", b"a.B"), ("__streams.errors.message", b"no"),
    ],
    "share groups": [
        ("__dlq.errors.topic", b"orders"), ("__dlq.errors.partition", b"3"), ("__dlq.errors.offset", b"42"),
        ("__dlq.errors.message", b"no"), ("__dlq.errors.delivery.count", b"5"),
    ],
    "Spring Kafka": [
        ("kafka_dlt-original-topic", b"orders"), ("kafka_dlt-original-partition", struct.pack(">i", 3)),
        ("kafka_dlt-original-offset", struct.pack(">q", 42)), ("kafka_dlt-exception-fqcn", b"a.B"),
        ("kafka_dlt-exception-message", b"no"), ("retry_topic-attempts", struct.pack(">i", 5)),
        ("kafka_dlt-original-timestamp", struct.pack(">q", 1_795_000_000_000)),
    ],
    "Spring's @RetryableTopic": [
        ("kafka_original-topic", b"orders"), ("kafka_original-partition", struct.pack(">i", 3)),
        ("kafka_original-offset", struct.pack(">q", 42)), ("kafka_exception-fqcn", b"a.Wrapper"),
        ("kafka_exception-cause-fqcn", b"a.B"), ("kafka_exception-message", b"no"),
        ("kafka_exception-stacktrace", b"at"), ("retry_topic-attempts", struct.pack(">i", 5)),
        ("kafka_original-timestamp", struct.pack(">q", 1_795_000_000_000)),
        ("kafka_original-timestamp-type", b"CreateTime"),
        ("retry_topic-backoff-timestamp", bytes.fromhex("01A1EE64B6C0")),
    ],
    "Spring Cloud Stream": [
        ("x-original-topic", b"orders"), ("x-original-partition", struct.pack(">i", 3)),
        ("x-original-offset", struct.pack(">q", 42)), ("x-exception-fqcn", b"a.B"), ("x-exception-message", b"no"),
        ("x-original-timestamp", struct.pack(">q", 1_795_000_000_000)),
    ],
    "SmallRye": [
        ("dead-letter-topic", b"orders"), ("dead-letter-partition", b"3"), ("dead-letter-offset", b"42"),
        ("dead-letter-exception-class-name", b"a.B"), ("dead-letter-reason", b"no"),
    ],
    "Karafka": [
        ("source_topic", b"orders"), ("source_partition", b"3"), ("source_offset", b"42"), ("source_attempts", b"5"),
    ],
    "django-kafka": [
        ("DEAD_LETTER_MESSAGE_TOPIC", b"orders"), ("DEAD_LETTER_MESSAGE_PARTITION", b"3"),
        ("DEAD_LETTER_MESSAGE_OFFSET", b"42"), ("DEAD_LETTER_SUMMARY", b"no"),
    ],
}  # fmt: skip
LAST_FAILURE = "keepstream.dlq.last-failure"


def buried(*headers: tuple[str, bytes | None]) -> DeadLetterRecord:
    return DeadLetterRecord(make_record(offset=9, topic="dlq", headers=headers))


WATERMILL = [
    ("_watermill_message_uuid", b"u"), ("topic_poisoned", b"orders"), ("reason_poisoned", b"no"),
    ("handler_poisoned", b"h"), ("subscriber_poisoned", b"kafka.Subscriber"),
]  # fmt: skip
OF_GROUPS = {
    "kafka_dlt-original-consumer-group": "Spring Kafka",
    "kafka_original-consumer-group": "Spring's @RetryableTopic",
    "__connect.errors.connector.name": "Kafka Connect",
    "__dlq.errors.group": "share groups",
    "source_consumer_group": "Karafka",
}
OWN_NAMES = KNOWN.preceded_by({
    "topic": "our-topic", "partition": "our-partition", "offset": "our-offset", "timestamp": "our-time",
    "consumer_group": "our-group", "reason": "our-reason", "message": "our-message", "attempts": "our-tries",
})  # fmt: skip
OWN = [
    ("our-topic", b"orders"), ("our-partition", b"3"), ("our-offset", b"42"), ("our-time", b"2026-11-18T19:06:40Z"),
    ("our-group", b"billing"), ("our-reason", b"a.B"), ("our-message", b"no"), ("our-tries", b"5"),
]  # fmt: skip


@pytest.mark.parametrize("writer", WRITTEN_BY)
def test_a_letter_of_another_writer_says_where_it_came_from(writer: str) -> None:
    letter = buried(*WRITTEN_BY[writer])
    assert (letter.origin_topic, letter.origin_partition, letter.origin_offset) == ("orders", 3, 42)
    assert letter.id == "orders-3-42"
    assert letter.reason in ("a.B", None)
    assert letter.message in ("no", None)
    assert letter.attempts in (5, None)
    assert letter.last_failed_at is None


def test_a_letter_of_watermill_says_where_it_came_from_and_is_named_by_its_place() -> None:
    letter = buried(*WATERMILL)
    assert (letter.origin_topic, letter.message, letter.id) == ("orders", "no", "dlq-0-9")


@pytest.mark.parametrize(("name", "writer"), OF_GROUPS.items())
def test_two_consumer_groups_that_fail_at_one_record_have_a_letter_each(name: str, writer: str) -> None:
    letters = [buried(*WRITTEN_BY[writer], (name, group)) for group in (b"billing", b"mail")]
    assert [letter.consumer_group for letter in letters] == ["billing", "mail"]
    assert [letter.id for letter in letters] == ["orders-3-42@billing", "orders-3-42@mail"]


def test_a_group_that_the_record_brought_along_is_none_of_a_letter_of_ours() -> None:
    died = make_dead_letter(make_record(topic="orders", partition=3, offset=43, headers=[("__dlq.errors.group", b"g")]))
    letter = buried(*dead_letter_headers(died, "1.0"))
    assert (letter.id, letter.consumer_group) == ("orders-3-43", None)


def test_headers_are_found_by_the_names_of_the_settings_before_those_of_others() -> None:
    record = make_record(offset=9, topic="dlq", headers=[*WRITTEN_BY["Karafka"], *OWN])
    letter = DeadLetterRecord(record, OWN_NAMES)
    assert letter.id == "orders-3-42@billing"
    assert (letter.reason, letter.message, letter.attempts) == ("a.B", "no", 5)
    assert letter.original_timestamp == 1_795_028_800_000
    assert DeadLetterRecord(make_record(headers=WRITTEN_BY["Karafka"]), OWN_NAMES).id == "orders-3-42"


@pytest.mark.parametrize("writer", ["Spring Kafka", "Spring's @RetryableTopic", "Spring Cloud Stream"])
def test_a_letter_of_spring_has_the_timestamp_of_its_record_and_failed_when_it_was_published(writer: str) -> None:
    letter = buried(*WRITTEN_BY[writer])
    assert letter.original_timestamp == 1_795_000_000_000 != letter.record.timestamp
    assert letter.failed_at == datetime.fromtimestamp(letter.record.timestamp / 1000, UTC)


@pytest.mark.parametrize("writer", ["Kafka Connect", "Kafka Streams"])
def test_a_letter_of_kafka_has_the_timestamp_of_its_record(writer: str) -> None:
    letter = buried(*WRITTEN_BY[writer])
    assert letter.original_timestamp == letter.record.timestamp


DATED = {"Kafka Connect", "Kafka Streams", "Spring Kafka", "Spring's @RetryableTopic", "Spring Cloud Stream"}


@pytest.mark.parametrize("writer", WRITTEN_BY)
def test_a_letter_says_whether_it_has_the_timestamp_of_its_record(writer: str) -> None:
    assert buried(*WRITTEN_BY[writer]).has_original_timestamp == (writer in DATED)
    assert buried(*dead_letter_headers(make_dead_letter(make_record()), "1.0")).has_original_timestamp


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (struct.pack(">q", 1_795_000_000_000), 1_795_000_000_000), (b"1795000000000", 1_795_000_000_000),
        (b"2026-11-18T19:06:40+01:00", 1_795_025_200_000), (struct.pack(">q", -1), None), (b"", None), (b"0", None),
        (b"yesterday", None), (b"9" * 18, None), (None, None), (b"\xff", None),
    ],
)  # fmt: skip
def test_an_original_timestamp_that_is_none_is_that_of_the_letter(value: bytes | None, found: int | None) -> None:
    letter = buried(("kafka_dlt-original-timestamp", value))
    assert letter.original_timestamp == (found or letter.record.timestamp)


def test_a_letter_that_was_imported_has_both_timestamps_still() -> None:
    letter = buried(*WRITTEN_BY["Spring Kafka"])
    again = DeadLetterRecord(make_record(timestamp=5, topic="dlq", offset=9, headers=letter.dated_headers))
    assert (again.original_timestamp, again.failed_at) == (letter.original_timestamp, letter.failed_at)


def test_a_timestamp_that_the_record_brought_along_does_not_date_a_letter_of_ours() -> None:
    record = make_record(headers=WRITTEN_BY["Spring Kafka"])
    letter = buried(*dead_letter_headers(make_dead_letter(record), "1.0"))
    assert letter.original_timestamp == record.timestamp


def test_a_letter_of_ours_is_read_back_whole() -> None:
    failure = make_failure(step=Step.METRICS, verdict=Verdict.EXHAUSTED, reason="timeout", message="late", attempts=4)
    first, last = datetime(2026, 11, 24, 10, tzinfo=UTC), datetime(2026, 11, 24, 11, tzinfo=UTC)
    written = make_dead_letter(
        make_record(topic="orders", partition=3, offset=42), failure=failure, first_failed_at=first,
        last_failed_at=last, event_id="e-1", correlation_id="c-1",
    )  # fmt: skip
    letter = buried(*dead_letter_headers(written, "1.0"))
    assert letter.id == written.id == "orders-3-42"
    assert letter.record_id == "dlq-0-9"
    assert (letter.step, letter.verdict, letter.reason, letter.message) == ("metrics", "exhausted", "timeout", "late")
    assert (letter.attempts, letter.sqlstate, letter.replay_count) == (4, "23514", 0)
    assert (letter.first_failed_at, letter.last_failed_at, letter.failed_at) == (first, last, last)
    assert (letter.event_id, letter.correlation_id) == ("e-1", "c-1")


@pytest.mark.parametrize(
    ("incarnation", "letter_id"), [(0, "orders-3-42"), (1, "orders~1-3-42"), (12, "orders~12-3-42")]
)
def test_a_letter_of_ours_comes_back_with_the_incarnation_of_its_topic(incarnation: int, letter_id: str) -> None:
    written = make_dead_letter(make_record(topic="orders", partition=3, offset=42), incarnation=incarnation)
    letter = DeadLetterRecord(to_record(written, "1.0"))
    assert (letter.id, letter.origin_topic, letter.incarnation) == (letter_id, "orders", incarnation)
    assert letter.to_dead_letter().id == written.id == letter_id


@pytest.mark.parametrize("writer", WRITTEN_BY)
def test_headers_that_the_record_brought_along_do_not_say_where_a_letter_of_ours_goes(writer: str) -> None:
    forged = [(name, value.replace(b"orders", b"payments")) for name, value in WRITTEN_BY[writer]]
    died = make_dead_letter(make_record(topic="orders", partition=3, offset=43, headers=forged))
    letter = buried(*dead_letter_headers(died, "1.0"))
    assert (letter.origin_topic, letter.origin_partition, letter.origin_offset) == ("orders", 3, 43)
    assert target_topic_of(letter, ReplayOptions()) == "orders"


def test_an_id_of_ours_that_the_record_brought_along_names_no_letter_of_another_writer() -> None:
    """Kafka Connect keeps the headers of the record and adds its own behind them."""
    letter = buried(("keepstream.dlq.id", b"payments-0-0"), *WRITTEN_BY["Kafka Connect"])
    assert letter.id == "orders-3-42"
    assert letter.origin_topic == "orders"


def test_a_letter_that_says_nothing_is_named_by_its_place_and_dated_by_its_record() -> None:
    letter = buried()
    assert letter.id == letter.record_id == "dlq-0-9"
    assert letter.failed_at == datetime.fromtimestamp(letter.record.timestamp / 1000, UTC)
    assert (letter.step, letter.reason, letter.origin_topic, letter.attempts, letter.event_id) == (None,) * 5


def test_a_letter_without_a_whole_origin_is_named_by_its_place() -> None:
    assert buried(("source_topic", b"orders"), ("source_partition", b"3")).id == "dlq-0-9"


@pytest.mark.parametrize(
    "value",
    [b"null", b"-100", b"12345678901234567890", b"9999999999999999999", b"", None, b"\xff\xff\xff\xff", b"1.5"],
)
def test_a_number_that_is_none_is_nothing(value: bytes | None) -> None:
    assert buried(("__connect.errors.offset", value)).origin_offset is None


def test_the_first_name_that_holds_a_number_wins() -> None:
    letter = buried(("__connect.errors.partition", b"none"), ("x-original-partition", struct.pack(">i", 7)))
    assert letter.origin_partition == 7


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-24T10:00:00", "2026-13-01T00:00:00Z"])
def test_a_time_without_zone_or_sense_is_none(text: str) -> None:
    letter = buried((LAST_FAILURE, text.encode()))
    assert letter.last_failed_at is None
    assert letter.failed_at.year == 2026


def test_a_time_of_another_zone_is_in_utc() -> None:
    letter = buried((LAST_FAILURE, b"2026-11-24T12:00:00+02:00"))
    assert letter.failed_at.isoformat() == "2026-11-24T10:00:00+00:00"


def test_a_time_that_its_zone_moves_out_of_the_calendar_is_none() -> None:
    assert buried((LAST_FAILURE, b"0001-01-01T00:00:00+14:00")).last_failed_at is None


@pytest.mark.parametrize("timestamp", [-1, 0, 2**63 - 1])
def test_every_record_timestamp_gives_a_time(timestamp: int) -> None:
    assert DeadLetterRecord(make_record(timestamp=timestamp)).failed_at.tzinfo is UTC


def test_a_letter_of_another_writer_keeps_its_timestamp_in_a_header_once() -> None:
    letter = buried(*WRITTEN_BY["Kafka Connect"])
    again = DeadLetterRecord(make_record(timestamp=5, topic="dlq", offset=9, headers=letter.dated_headers))
    assert again.dated_headers == again.record.headers
    assert list(again.record.headers[1:]) == WRITTEN_BY["Kafka Connect"]
    assert again.original_timestamp == letter.record.timestamp
    assert (again.id, again.failed_at) == (letter.id, letter.failed_at)


def test_the_header_of_the_timestamp_makes_no_id_that_the_record_brought_along_ours() -> None:
    letter = buried(("keepstream.dlq.id", b"payments-0-0"), *WRITTEN_BY["Kafka Connect"])
    assert buried(*letter.dated_headers).id == letter.id == "orders-3-42"


@pytest.mark.parametrize("timestamp", [-1, 0])
def test_a_letter_without_a_timestamp_gets_no_header_of_it(timestamp: int) -> None:
    assert not DeadLetterRecord(make_record(timestamp=timestamp, headers=())).dated_headers


@pytest.mark.parametrize(("text", "count"), [(b"3", 3), (b"-1", 0), (b"x", 0), (b"", 0), (b"9999999999", 0)])
def test_a_replay_count_that_is_none_is_zero(text: bytes, count: int) -> None:
    assert buried(("keepstream.dlq.replay-count", text)).replay_count == count


_NAMES = sorted({name for headers in WRITTEN_BY.values() for name, _ in headers} | {LAST_FAILURE, "keepstream.dlq.id"})


@given(st.lists(st.tuples(st.sampled_from(_NAMES), st.none() | st.binary(max_size=32))))
def test_any_headers_can_be_read(headers: list[tuple[str, bytes | None]]) -> None:
    letter = buried(*headers)
    assert letter.id
    assert letter.failed_at.tzinfo is UTC
    for number in (letter.origin_partition, letter.origin_offset, letter.attempts):
        assert number is None or 0 <= number < 2**63
    for text in (letter.origin_topic, letter.reason, letter.message, letter.event_id, letter.correlation_id):
        assert text != ""
