"""Asking the parts outside whether they are there, also when nothing flows: for /readyz and the exact totals."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from psycopg_pool import PoolClosed, PoolTimeout

from keepstream.app.connect.client_config import librdkafka_settings
from keepstream.app.worker.health import KAFKA, POSTGRES
from keepstream.sinks.postgres.errors import reason_of

if TYPE_CHECKING:
    from keepstream.app.config.settings import KafkaSettings
    from keepstream.app.worker.health import Health
    from keepstream.sinks.postgres.standing import PostgresStanding
    from keepstream.sinks.prometheus.metrics import PrometheusMetrics

log = logging.getLogger(__name__)
PROBE_S = 10.0
FIRST_PROBE_S = 1.0
ASK_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Probes:
    """Tells `Health` which part is missing, and `PrometheusMetrics` what PostgreSQL counted."""

    health: Health
    metrics: PrometheusMetrics
    standing: PostgresStanding
    kafka: KafkaSettings

    async def run(self) -> None:
        await asyncio.sleep(FIRST_PROBE_S)
        admin: AdminClient | None = None
        while True:
            self._note(POSTGRES, await self._postgres())
            if admin is None:
                admin = await asyncio.to_thread(self._admin)
            self._note(KAFKA, "no client can log in" if admin is None else await asyncio.to_thread(self._kafka, admin))
            await asyncio.sleep(PROBE_S)

    def _note(self, part: str, trouble: str | None) -> None:
        if trouble and part not in self.health.missing:
            log.warning("%s is missing: %s", part, trouble)
        elif not trouble and part in self.health.missing:
            log.info("%s is back", part)
        if trouble:
            self.health.missing[part] = trouble
        else:
            self.health.missing.pop(part, None)

    async def _postgres(self) -> str | None:
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                self.metrics.ledger_read(await self.standing.read())
        except psycopg.errors.UndefinedTable:
            return "a table is missing; run `keepstream db migrate`"
        except psycopg.Error as error:
            return f"it refuses: {reason_of(error)}" if error.sqlstate else "it does not answer"
        except (PoolTimeout, PoolClosed, TimeoutError):
            return "it does not answer"
        return None

    def _admin(self) -> AdminClient | None:
        try:
            return AdminClient({**librdkafka_settings(self.kafka), "log_level": 0})
        except KafkaException:  # no token for OAUTHBEARER
            return None

    def _kafka(self, admin: AdminClient) -> str | None:
        try:
            topic = admin.list_topics(self.kafka.topic, timeout=ASK_TIMEOUT_S).topics.get(self.kafka.topic)
        except KafkaException:
            return "it does not answer"
        if topic is None or topic.error is not None:
            return f"there is no topic {self.kafka.topic!r}"
        leaderless = sorted(number for number, partition in topic.partitions.items() if partition.leader < 0)
        return f"partitions {leaderless} have no leader" if leaderless else None
