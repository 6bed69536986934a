"""Waiting for Kafka at the start: a worker may come up before its broker or its topic."""

from __future__ import annotations

import asyncio
import logging

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata

from keepstream.app.config.settings import KafkaSettings
from keepstream.app.connect.client_config import librdkafka_settings
from keepstream.app.connect.diagnose import LastKafkaError

log = logging.getLogger(__name__)
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
ASK_TIMEOUT_S = 5.0


async def wait_for_topic(settings: KafkaSettings) -> None:
    """Return once the cluster answers and has the topic; log what is missing meanwhile, however long it takes."""
    cluster = _Cluster(settings)
    wait_s = FIRST_WAIT_S
    while missing := await asyncio.to_thread(_missing, cluster, settings):
        log.warning("waiting: %s", missing)
        await asyncio.sleep(wait_s)
        wait_s = min(LONGEST_WAIT_S, wait_s * 2)


class _Cluster:
    """A client for metadata, made at its first use: without an OAUTHBEARER token it cannot be made."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._last_error = LastKafkaError(settings)
        self._admin: AdminClient | None = None

    def metadata(self) -> ClusterMetadata:
        """Return the cluster's metadata. Raises KafkaException when no broker answers."""
        if self._admin is None:
            own = {"log_level": 0, "error_cb": self._last_error}
            self._admin = AdminClient(librdkafka_settings(self._settings) | own)
        return self._admin.list_topics(self._settings.topic, timeout=ASK_TIMEOUT_S)

    def why_not(self) -> str:
        if self._admin is not None:
            self._admin.poll(0)  # delivers its errors
        return self._last_error.explain()


def _missing(cluster: _Cluster, settings: KafkaSettings) -> str | None:
    try:
        found = cluster.metadata().topics.get(settings.topic)
    except KafkaException:
        return f"Kafka does not answer at {settings.bootstrap_servers}: {cluster.why_not()}"
    if found is None or found.error is not None:
        return f"there is no topic {settings.topic!r}; `keepstream topics ensure` creates it"
    return None
