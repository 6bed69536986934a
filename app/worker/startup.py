"""Waiting for Kafka at the start: a worker may come up before its broker or its topic."""

from __future__ import annotations

import asyncio
import logging

from confluent_kafka import KafkaException

from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.connect.diagnose import LastKafkaError
from keepstream.sinks.kafka.admin import KafkaAdmin, TopicMissingError

log = logging.getLogger(__name__)
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0


async def wait_for_topic(admin: KafkaAdmin, last_error: LastKafkaError, settings: KafkaSettings) -> None:
    """Return once the cluster answers and has the topic. Logs what is missing meanwhile; there is no timeout.

    ``last_error`` is the ``error_cb`` of ``admin``.
    """
    wait_s = FIRST_WAIT_S
    while missing := await asyncio.to_thread(_missing, admin, last_error, settings):
        log.warning("waiting: %s", missing)
        await asyncio.sleep(wait_s)
        wait_s = min(LONGEST_WAIT_S, wait_s * 2)


def _missing(admin: KafkaAdmin, last_error: LastKafkaError, settings: KafkaSettings) -> str | None:
    try:
        admin.partitions(settings.topic)
    except TopicMissingError:
        return f"there is no topic {settings.topic!r}; `keepstream topics ensure` creates it"
    except KafkaException:
        admin.report_errors()
        return f"Kafka does not answer at {settings.bootstrap_servers}: {last_error.explain()}"
    return None
