"""Building the worker's components from its settings: the only module that chooses implementations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version

from keepstream.app.config.base import VERSION
from keepstream.app.config.postgres import PostgresSettings, conninfo
from keepstream.app.config.settings import RetrySettings, Settings
from keepstream.app.connect.client_config import librdkafka_settings
from keepstream.app.process.exit import exit_fatal
from keepstream.app.telemetry import logging as logs
from keepstream.app.telemetry.tracing import traces_of
from keepstream.app.worker.instrumentation import InstrumentedPipeline, LoggingMetrics
from keepstream.processors.dead_letter_limit import DeadLetterLimit
from keepstream.processors.outbox import OutboxPublisher
from keepstream.processors.partition_queue import Batch, PartitionQueue
from keepstream.processors.pause import Pause
from keepstream.processors.pipeline import Pipeline, Policies
from keepstream.processors.retry import RetryPolicy
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.sinks.kafka.dead_letters import KafkaDeadLetterQueue
from keepstream.sinks.postgres.claim_checks import PostgresClaimChecks
from keepstream.sinks.postgres.connection import ConnectionPolicy, open_pool
from keepstream.sinks.postgres.offsets import PostgresOffsets
from keepstream.sinks.postgres.outbox import PostgresOutbox
from keepstream.sinks.postgres.status import PostgresTotals
from keepstream.sinks.postgres.store import PostgresStore
from keepstream.sinks.prometheus.metrics import PrometheusMetrics


@dataclass(frozen=True, slots=True)
class TopicComponents:
    """The parts of a worker that one topic has to itself."""

    pipeline: Pipeline
    offsets: PostgresOffsets
    totals: PostgresTotals
    store: PostgresStore


@dataclass(frozen=True, slots=True)
class Components:
    """The parts of a worker that need sinks."""

    topics: Mapping[str, TopicComponents]
    process: InstrumentedPipeline
    metrics: PrometheusMetrics

    async def recover(self, queue: PartitionQueue) -> None:
        """Publish the dead letters that a queue's partition left in the outbox."""
        await self.topics[queue.topic].pipeline.outbox.recover(queue)

    @property
    def offsets(self) -> dict[str, PostgresOffsets]:
        return {topic: one.offsets for topic, one in self.topics.items()}

    @property
    def totals(self) -> dict[str, PostgresTotals]:
        return {topic: one.totals for topic, one in self.topics.items()}

    @property
    def stores(self) -> dict[str, PostgresStore]:
        return {topic: one.store for topic, one in self.topics.items()}


async def process_by_topic(topics: Mapping[str, TopicComponents], batch: Batch) -> OutcomeCounts:
    """Process a batch by the pipeline of its topic."""
    return await topics[batch.offset_range.topic].pipeline.process(batch)


Wrap = Callable[[Pipeline], Pipeline]


@asynccontextmanager
async def open_components(
    settings: Settings, validators: Mapping[str, Validator], wrap: Wrap = lambda pipeline: pipeline
) -> AsyncIterator[Components]:
    """Open the sinks and close them again, without waiting for Kafka or PostgreSQL. ``validators`` are by topic.

    ``wrap`` may replace the ports of each pipeline: tests inject faults with it.
    """
    metrics = PrometheusMetrics(settings.by_topic())
    metrics.set_build_info(VERSION, version("faust-streaming"))
    logs.count(metrics.log_records)
    async with AsyncExitStack() as stack:
        traces = traces_of(settings.traces)
        stack.callback(traces.close)
        topics = {
            topic: await stack.enter_async_context(_open_topic(view, validators[topic], metrics, wrap))
            for topic, view in settings.by_topic().items()
        }
        process = InstrumentedPipeline(partial(process_by_topic, topics), metrics, traces)
        yield Components(topics, process, metrics)


@asynccontextmanager
async def _open_topic(
    settings: Settings, validator: Validator, metrics: PrometheusMetrics, wrap: Wrap
) -> AsyncIterator[TopicComponents]:
    policy, worker = connection_policy(settings.postgres), settings.worker
    pool = await open_pool(policy, on_unusable=exit_fatal)
    probe_pool = await open_pool(replace(policy, pool_size=1))  # a probe does not wait behind batches
    metrics.watch_pool(settings.kafka.topic, pool.get_stats)
    dead_letters = KafkaDeadLetterQueue(
        settings.kafka.dlq_topic,
        librdkafka_settings(settings.kafka),
        timeout_s=settings.kafka.dlq_timeout_s,
        claim_checks=PostgresClaimChecks(pool),
    )
    policies = Policies(
        retry_policy(worker.store_retry), retry_policy(worker.metrics_retry), worker.foreign_key_wait_s
    )  # fmt: skip
    logging_metrics = LoggingMetrics(metrics, settings.kafka.topic)
    pause, limit = Pause(logging_metrics), DeadLetterLimit(worker.flood_limit, worker.flood_window)
    outbox = OutboxPublisher(PostgresOutbox(pool), dead_letters, logging_metrics, pause, limit, VERSION)
    store, offsets = (
        PostgresStore(pool),
        PostgresOffsets(pool, settings.postgres.allow_other_topics, settings.table.name),
    )
    pipeline = wrap(Pipeline(store, outbox, logging_metrics, pause, policies, validator))
    try:
        yield TopicComponents(pipeline, offsets, PostgresTotals(probe_pool), store)
    finally:
        await dead_letters.close()
        await probe_pool.close(timeout=1)
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
