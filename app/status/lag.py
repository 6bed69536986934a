"""How far each partition is behind."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from keepstream.app.config.settings import KafkaSettings, Settings
from keepstream.app.connect.client_config import librdkafka_settings
from keepstream.app.connect.connections import admin_client, connect
from keepstream.app.errors import NOT_FOUND, KeepstreamError


def lag_rows(settings: Settings) -> list[dict[str, Any]]:
    """Return one row per partition: settled, committed, end, lag, and when it last moved."""
    kafka = settings.kafka
    admin = admin_client(kafka)
    bounds = bounds_of(admin, kafka.topic)
    committed = _committed(kafka, bounds)
    with connect(settings) as connection:
        query = "SELECT partition, next_offset, updated_at FROM stream_offsets WHERE topic = %s"
        settled = {row[0]: row[1:] for row in connection.execute(query, [kafka.topic]).fetchall()}
    rows = []
    for partition, (start, end) in sorted(bounds.items()):
        position, moved_at = settled.get(partition, (None, None))
        behind = end - (start if position is None else max(start, int(str(position))))
        rows.append({
            "partition": partition, "settled": position, "committed": committed.get(partition), "end": end,
            "lag": max(0, behind), "settled_at": moved_at,
        })  # fmt: skip
    return rows


def bounds_of(admin: AdminClient, topic: str) -> dict[int, tuple[int, int]]:
    """Return (first offset, end of what is committed) of each partition."""
    found = admin.list_topics(timeout=10).topics.get(topic)
    if found is None or found.error is not None:
        raise KeepstreamError(
            "topic_missing", f"there is no topic {topic!r}", "run `keepstream topics ensure`", NOT_FOUND
        )
    tps = [TopicPartition(topic, partition) for partition in found.partitions]

    def ask(spec: OffsetSpec) -> dict[int, int]:
        futures = admin.list_offsets(dict.fromkeys(tps, spec), isolation_level=IsolationLevel.READ_COMMITTED)
        return {tp.partition: future.result(timeout=10).offset for tp, future in futures.items()}

    starts, ends = ask(OffsetSpec.earliest()), ask(OffsetSpec.latest())  # type: ignore[no-untyped-call]
    return {partition: (starts[partition], ends[partition]) for partition in starts}


def _committed(kafka: KafkaSettings, partitions: Iterable[int]) -> dict[int, int]:
    """Ask as a consumer: the admin client's call can crash the process on a broker that just started.

    confluent-kafka 2.16.1, librdkafka #5040: seen as a segmentation fault in list_consumer_group_offsets.
    """
    consumer = Consumer({**librdkafka_settings(kafka), "group.id": kafka.group_id, "log_level": 0})
    try:
        found = consumer.committed([TopicPartition(kafka.topic, partition) for partition in partitions], timeout=10)
        return {tp.partition: tp.offset for tp in found if tp.offset >= 0}
    finally:
        consumer.close()


PATIENCE_S = 3.0


def oldest_unsettled(kafka: KafkaSettings, positions: Mapping[int, int]) -> float | None:
    """Return the smallest Kafka timestamp, Unix seconds, of the records at these offsets; one per lagging partition.

    None when there is none, or when not every partition answered in time: the oldest might be theirs. Commits nothing.
    """
    if not positions:
        return None
    consumer = Consumer({
        **librdkafka_settings(kafka), "group.id": kafka.group_id, "enable.auto.commit": False, "log_level": 0,
        "isolation.level": "read_committed", "auto.offset.reset": "earliest", "queued.min.messages": 1,
        "max.partition.fetch.bytes": 1024,  # a broker gives one batch all the same
    })  # fmt: skip
    try:
        consumer.assign([TopicPartition(kafka.topic, partition, offset) for partition, offset in positions.items()])
        return _first_of_each(consumer, kafka.topic, set(positions))
    except KafkaException:
        return None
    finally:
        consumer.close()


def _first_of_each(consumer: Consumer, topic: str, waited_for: set[int]) -> float | None:
    oldest_ms: list[int] = []
    deadline = time.monotonic() + PATIENCE_S
    while waited_for and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is None or message.error():
            continue
        partition = message.partition()
        if partition in waited_for:
            waited_for.discard(partition)
            oldest_ms.append(message.timestamp()[1])
            consumer.incremental_unassign([TopicPartition(topic, partition)])
    return min(oldest_ms) / 1000 if oldest_ms and not waited_for else None
