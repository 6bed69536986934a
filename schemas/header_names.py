"""Names that dead letters' headers have, by what they say.

Writers: Kafka Connect (KIP-298), Kafka Streams (KIP-1034), share groups (KIP-1191), Spring Kafka and its
``@RetryableTopic``, Spring Cloud Stream, SmallRye, Watermill, Karafka Pro, django-kafka, arroyo, and keepstream.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

from keepstream.schemas.dead_letter import CONNECT, PREFIX

_SPRING = ("kafka_dlt-", "kafka_")
"""Of a dead letter topic, and of ``@RetryableTopic``."""
_CAUSE_OF_SPRING = tuple(f"{prefix}exception-cause-fqcn" for prefix in _SPRING)
"""Before the exception's own: that of a listener is always a ListenerExecutionFailedException around it."""
_ALSO_DROPPED = frozenset({
    "DEAD_LETTER_DETAIL", "handler_poisoned", "subscriber_poisoned", "dead-letter-cause",
    "dead-letter-cause-class-name", "retry_topic-backoff-timestamp", CONNECT + "exception.stacktrace",
    "__streams.errors.stacktrace", "x-exception-stacktrace",
    *(f"{prefix}{name}" for prefix in _SPRING for name in (
        "exception-stacktrace", "key-exception-fqcn", "key-exception-message", "key-exception-stacktrace",
        "original-partition", "original-offset", "original-timestamp", "original-timestamp-type",
    )),
    "kafka_original-topic", "dead-letter-topic", "dead-letter-partition", "dead-letter-offset",
})  # fmt: skip
"""The rest of the error; and where the record came from, of writers whose next dead letter of it would say the same:
Spring keeps the headers that it finds, SmallRye puts its own in front of them."""


@dataclass(frozen=True)
class HeaderNames:
    """Names of headers in the order in which they are looked for. The first one with a value counts."""

    topic: tuple[str, ...] = ()
    partition: tuple[str, ...] = ()
    offset: tuple[str, ...] = ()
    timestamp: tuple[str, ...] = ()
    consumer_group: tuple[str, ...] = ()
    step: tuple[str, ...] = ()
    reason: tuple[str, ...] = ()
    message: tuple[str, ...] = ()
    attempts: tuple[str, ...] = ()
    also_dropped: frozenset[str] = frozenset()
    """Names that a replay drops, beside those of the error."""
    keeping_timestamp: tuple[str, ...] = ()
    """Names of ``topic`` whose writers publish a dead letter with the timestamp of its record."""

    @cached_property
    def dropped(self) -> frozenset[str]:
        """Names that a replay drops: those of the error. Most of those that name the record's origin stay."""
        error = (*self.consumer_group, *self.step, *self.reason, *self.message, *self.attempts)
        return self.also_dropped | frozenset(error)

    def preceded_by(self, own: dict[str, str]) -> HeaderNames:
        """Return these names behind one's own, which are given by field. A replay drops what they name."""
        names = {field.name: (own[field.name], *getattr(self, field.name)) for field in fields(self)
                 if field.name in own}  # fmt: skip
        return replace(self, **names, also_dropped=self.also_dropped.union(own.values()))


KNOWN = HeaderNames(
    topic=(
        CONNECT + "topic", "__streams.errors.topic", "__dlq.errors.topic", "kafka_dlt-original-topic",
        "kafka_original-topic", "x-original-topic", "dead-letter-topic", "topic_poisoned", "source_topic",
        "DEAD_LETTER_MESSAGE_TOPIC",
    ),
    partition=(
        CONNECT + "partition", "__streams.errors.partition", "__dlq.errors.partition", "kafka_dlt-original-partition",
        "kafka_original-partition", "x-original-partition", "dead-letter-partition", "source_partition",
        "original_partition", "DEAD_LETTER_MESSAGE_PARTITION",
    ),
    offset=(
        CONNECT + "offset", "__streams.errors.offset", "__dlq.errors.offset", "kafka_dlt-original-offset",
        "kafka_original-offset", "x-original-offset", "dead-letter-offset", "source_offset", "original_offset",
        "DEAD_LETTER_MESSAGE_OFFSET",
    ),
    timestamp=("kafka_dlt-original-timestamp", "kafka_original-timestamp", "x-original-timestamp"),
    consumer_group=(
        CONNECT + "connector.name", "__dlq.errors.group", "kafka_dlt-original-consumer-group",
        "kafka_original-consumer-group", "source_consumer_group",
    ),
    step=(PREFIX + "step", CONNECT + "stage"),
    reason=(
        PREFIX + "reason", CONNECT + "exception.class.name", "__streams.errors.exception", *_CAUSE_OF_SPRING,
        "kafka_dlt-exception-fqcn", "kafka_exception-fqcn", "x-exception-fqcn", "dead-letter-exception-class-name",
    ),
    message=(
        CONNECT + "exception.message", "__streams.errors.message", "__dlq.errors.message",
        "kafka_dlt-exception-message", "kafka_exception-message", "x-exception-message", "dead-letter-reason",
        "reason_poisoned", "DEAD_LETTER_SUMMARY",
    ),
    attempts=(
        PREFIX + "attempts", "__dlq.errors.delivery.count", "kafka_deliveryAttempt", "retry_topic-attempts",
        "source_attempts", "delayed-retry-count",
    ),
    also_dropped=_ALSO_DROPPED,
    keeping_timestamp=(CONNECT + "topic", "__streams.errors.topic"),
)  # fmt: skip
"""The names of all writers above. SmallRye, Watermill, Karafka and share groups keep the timestamp nowhere."""
