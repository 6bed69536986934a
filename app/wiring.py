"""Settings become parts, and parts a pipeline. The only place that chooses implementations."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from app import logs
from app.clients import librdkafka_settings
from app.crash_points import trap_of
from app.journal import Journal
from app.observed import ObservedBatches, TimedDeadLetters
from app.postgres_security import conninfo
from app.traces import traces_of
from app.version import VERSION
from processors.flood import FloodGuard
from processors.hold import Hold
from processors.pipeline import Pipeline, Policies
from processors.retry import RetryPolicy
from sinks.dead_letters import KafkaDeadLetters
from sinks.metrics import PrometheusMetrics
from sinks.postgres.connection import ConnectionPolicy, open_pool
from sinks.postgres.offsets import PostgresOffsets
from sinks.postgres.originals import PostgresOriginals
from sinks.postgres.standing import PostgresStanding
from sinks.postgres.store import PostgresStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.postgres_settings import PostgresSettings
    from app.settings import RetrySettings, Settings
    from processors.ports import DeadLetterQueue


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
