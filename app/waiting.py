"""Waiting for Kafka at the start: a worker may come up before its broker or its topic."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from app.clients import librdkafka_settings
from app.refusals import Complaints

if TYPE_CHECKING:
    from app.settings import KafkaSettings

log = logging.getLogger(__name__)
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
ASK_TIMEOUT_S = 5.0


async def topic_is_there(settings: KafkaSettings) -> None:
    """Return once the cluster answers and knows the topic; say what is missing meanwhile, however long it takes."""
    complaints = Complaints(settings)
    admin = AdminClient(librdkafka_settings(settings) | {"log_level": 0, "error_cb": complaints})
    wait_s = FIRST_WAIT_S
    while missing := await asyncio.to_thread(_missing, admin, settings, complaints):
        log.warning("waiting: %s", missing)
        await asyncio.sleep(wait_s)
        wait_s = min(LONGEST_WAIT_S, wait_s * 2)


def _missing(admin: AdminClient, settings: KafkaSettings, complaints: Complaints) -> str | None:
    try:
        found = admin.list_topics(settings.topic, timeout=ASK_TIMEOUT_S).topics.get(settings.topic)
    except KafkaException:
        admin.poll(0)  # for what it complained of
        return f"Kafka does not answer at {settings.bootstrap_servers}: {complaints.why()}"
    if found is None or found.error is not None:
        return f"there is no topic {settings.topic!r}; `keepstream topics ensure` creates it"
    return None
