"""aiokafka's consumer with keepstream's settings."""

from __future__ import annotations

import aiokafka
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.connect.client_config import aiokafka_security
from keepstream.app.worker.aiokafka_internals import create_no_topics, decode_headers_leniently, limit_decompression

MAX_POLL_RECORDS = 2000
METADATA_MAX_AGE_MS = 60_000
"""How soon an added partition is found: its records wait until then. aiokafka's default is 5 minutes."""
MAX_POLL_INTERVAL_MS = 10**12
"""aiokafka leaves the group when no record was fetched for so long, and never joins again (its issue 1187). A standby
fetches none, nor does a worker whose queues are full during an outage. The broker does not see this number."""
RESPONSE_BYTES = 16 * 1024 * 1024
"""Largest response to a fetch, whatever the number of partitions."""


def new_consumer(settings: KafkaSettings, isolation_level: str = "read_committed") -> aiokafka.AIOKafkaConsumer:
    """Build the consumer. Faust's own would read aborted transactions, and silently reset lost offsets (T16)."""
    create_no_topics()
    decode_headers_leniently()
    limit_decompression(settings.unpack_max_bytes)
    return aiokafka.AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        client_id="keepstream",
        group_id=settings.group_id,
        group_instance_id=settings.group_instance_id,
        partition_assignment_strategy=[RoundRobinPartitionAssignor],
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level=isolation_level,
        max_poll_records=MAX_POLL_RECORDS,
        max_partition_fetch_bytes=settings.fetch_max_bytes,
        fetch_max_bytes=max(RESPONSE_BYTES, settings.fetch_max_bytes),
        max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
        request_timeout_ms=_ms(settings.request_timeout_s),
        session_timeout_ms=_ms(settings.session_timeout_s),
        rebalance_timeout_ms=_ms(settings.session_timeout_s),
        heartbeat_interval_ms=_ms(settings.heartbeat_interval_s),
        fetch_max_wait_ms=500,
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
        **aiokafka_security(settings.security),
    )


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
