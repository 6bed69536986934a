"""Settings become parts, and parts a pipeline. The only place that chooses implementations."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from keepstream.app.config.base import VERSION
from keepstream.app.config.postgres import conninfo
from keepstream.app.connect.client_config import librdkafka_settings
from keepstream.app.telemetry import logging as logs
from keepstream.app.telemetry.tracing import traces_of
from keepstream.app.worker.crash_points import trap_of
from keepstream.app.worker.instrumentation import Journal, ObservedBatches, TimedDeadLetters
from keepstream.processors.dead_letter_limit import FloodGuard
from keepstream.processors.pause import Hold
from keepstream.processors.pipeline import Pipeline, Policies
from keepstream.processors.retry import RetryPolicy
from keepstream.sinks.kafka.dead_letters import KafkaDeadLetters
from keepstream.sinks.postgres.claim_checks import PostgresOriginals
from keepstream.sinks.postgres.connection import ConnectionPolicy, open_pool
from keepstream.sinks.postgres.offsets import PostgresOffsets
from keepstream.sinks.postgres.status import PostgresStanding
from keepstream.sinks.postgres.store import PostgresStore
from keepstream.sinks.prometheus.metrics import PrometheusMetrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from keepstream.app.config.postgres import PostgresSettings
    from keepstream.app.config.settings import RetrySettings, Settings
    from keepstream.processors.ports import DeadLetterQueue


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker is made of."""

    process: ObservedBatches
    offsets: PostgresOffsets
    standing: PostgresStanding
    metrics: PrometheusMetrics
    store: PostgresStore


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """Open the sinks and close them again. Nothing here waits for Kafka or PostgreSQL to be there."""
    metrics = PrometheusMetrics([settings.kafka.topic])
    metrics.about(VERSION, version("faust-streaming"))
    logs.count(metrics.log_records)
    pool = await open_pool(connection_policy(settings.postgres))
    metrics.watch_pool(pool.get_stats)
    dead_letters = KafkaDeadLetters(
        settings.kafka.dlq_topic,
        librdkafka_settings(settings.kafka),
        timeout_s=settings.kafka.dlq_timeout_s,
        app_version=VERSION,
        originals=PostgresOriginals(pool),
    )
    traces = traces_of(settings.traces)
    policies = Policies(retry_policy(settings.worker.store_retry), retry_policy(settings.worker.metrics_retry))
    journal = Journal(metrics)
    queue: DeadLetterQueue = TimedDeadLetters(dead_letters, metrics)
    if settings.worker.flood_limit:
        queue = FloodGuard(queue, settings.worker.flood_limit, settings.worker.flood_window)
    store = PostgresStore(pool)
    pipeline = Pipeline(store, queue, journal, Hold(journal), policies)
    if trap := trap_of(settings.crash_at):
        pipeline = trap.armed(pipeline)
    try:
        process = ObservedBatches(pipeline.process, metrics, traces)
        yield Parts(process, PostgresOffsets(pool), PostgresStanding(pool), metrics, store)
    finally:
        traces.close()
        await dead_letters.close()
        await pool.close(timeout=1)


def connection_policy(settings: PostgresSettings) -> ConnectionPolicy:
    return ConnectionPolicy(
        url=partial(conninfo, settings) if settings.password_file else settings.url.get_secret_value(),
        pool_size=settings.pool_size,
        connect_timeout_s=settings.connect_timeout_s,
        statement_timeout_s=settings.statement_timeout_s,
        lock_timeout_s=settings.lock_timeout_s,
        schema=settings.schema_name,
        synchronous_commit=settings.synchronous_commit,
    )


def retry_policy(settings: RetrySettings) -> RetryPolicy:
    return RetryPolicy(**settings.model_dump())
