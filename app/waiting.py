"""Waiting for Kafka at the start: a worker may come up before its broker or its topic."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from app.clients import librdkafka_settings

if TYPE_CHECKING:
    from app.settings import KafkaSettings

log = logging.getLogger(__name__)
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
ASK_TIMEOUT_S = 5.0


async def topic_is_there(settings: KafkaSettings) -> None:
    """Return once the cluster answers and knows the topic; say what is missing meanwhile, however long it takes."""
    admin = AdminClient({**librdkafka_settings(settings), "log_level": 0})
    wait_s = FIRST_WAIT_S
    while missing := await asyncio.to_thread(_missing, admin, settings):
        log.warning("waiting: %s", missing)
        await asyncio.sleep(wait_s)
        wait_s = min(LONGEST_WAIT_S, wait_s * 2)


def _missing(admin: AdminClient, settings: KafkaSettings) -> str | None:
    try:
        found = admin.list_topics(settings.topic, timeout=ASK_TIMEOUT_S).topics.get(settings.topic)
    except KafkaException:
        return f"Kafka does not answer at {settings.bootstrap_servers}"
    if found is None or found.error is not None:
        return f"there is no topic {settings.topic!r}; `keepstream topics ensure` creates it"
    return None
