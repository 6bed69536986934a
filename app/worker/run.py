"""The worker: a Faust app with one agent that appends fetched records to their partition's queue.

Faust fetches, keeps the group membership and runs the agent; what is settled is decided here (docs/decisions.md,
"Faust"). An unexpected error ends the process at once with exit code 70, because Faust would continue; the next start
reads again from the offsets in PostgreSQL.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import faust
import faust.streams
import yarl
from confluent_kafka import KafkaException
from faust.app import BootStrategy
from faust.transport.drivers.aiokafka import Transport

from keepstream.app.config.settings import Settings
from keepstream.app.connect.client_config import librdkafka_settings
from keepstream.app.connect.diagnose import LastKafkaError
from keepstream.app.errors import CYTHON_FIX
from keepstream.app.process.exit import critical_task, exit_fatal, exit_within
from keepstream.app.worker.assignment import Assignment
from keepstream.app.worker.components import Components, open_components
from keepstream.app.worker.faust_app import BatchConsumer, BatchSchema
from keepstream.app.worker.health import KAFKA, DependencyProbe, GaugeSampler, Health
from keepstream.app.worker.http_server import Endpoint
from keepstream.app.worker.membership import MembershipMonitor
from keepstream.app.worker.start_offsets import OffsetRegressionMonitor, RecreatedTopicMonitor
from keepstream.app.worker.watchdog import LoopWatchdog, StallDetector
from keepstream.processors.dispatcher import Dispatcher
from keepstream.processors.partition_queue import TransactionLimit
from keepstream.processors.pipeline import Pipeline
from keepstream.processors.validation.validate import Validator
from keepstream.sinks.kafka.admin import KafkaAdmin, TopicMissingError

log = logging.getLogger(__name__)
STOP_GRACE_S, KAFKA_TIMEOUT_S = 5.0, 5.0
"""How long Faust's own shutdown may take after the drain. No data depends on it (Faust trap T35)."""
EXIT_STOPPED = 0
GC_YOUNG_OBJECTS = 50_000
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0


class _ConsumerOnly(BootStrategy):
    enable_kafka_producer = False
    """keepstream produces through librdkafka, and Faust's producer would connect without its TLS and SASL."""


class _App(faust.App):
    BootStrategy = _ConsumerOnly

    def _create_directories(self) -> None:
        """Create no data directory: there are no tables, and the working directory may be read-only."""


def build_app(
    settings: Settings, assignment: Assignment, consumer_class: type[BatchConsumer] = BatchConsumer
) -> faust.App:
    """Build the Faust app with the guards of docs/decisions.md, "Faust"."""
    if faust.streams._CStreamIterator is None:  # type: ignore[attr-defined]  # noqa: SLF001
        exit_fatal(
            "faust was installed without its Cython extension, without which it acknowledges what it skips (trap T11): "
            + CYTHON_FIX.format(faust.__version__)
        )
    kafka = settings.kafka
    url = yarl.URL(f"kafka://{kafka.bootstrap_servers.partition(',')[0]}")
    app = _App(
        kafka.group_id,
        broker=str(url),
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        processing_guarantee="at_least_once",
        stream_wait_empty=False,
        broker_commit_interval=kafka.commit_interval_s,
        broker_session_timeout=kafka.session_timeout_s,
        broker_request_timeout=kafka.request_timeout_s,
        broker_heartbeat_interval=kafka.heartbeat_interval_s,
        producer_request_timeout=kafka.request_timeout_s,
    )
    consumer = type("Consumer", (consumer_class,), {"settings": settings, "assigned": assignment})
    transport = type("Transport", (Transport,), {"Consumer": consumer})
    app.transport = transport([url], app, loop=asyncio.get_running_loop())
    schema = BatchSchema(key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    topics = app.topic(*settings.by_topic(), schema=schema)

    @app.agent(topics)
    async def dispatch(stream: Any) -> None:  # noqa: ANN401
        async for fetched in stream.noack():
            assignment.dispatcher.append(fetched)

    return app


async def run(
    settings: Settings,
    validators: Mapping[str, Validator],
    wrap: Callable[[Pipeline], Pipeline] = lambda pipeline: pipeline,
    consumer_class: type[BatchConsumer] = BatchConsumer,
) -> None:
    """Consume until SIGTERM or SIGINT, then drain and return.

    ``validators`` are by topic. Tests inject faults with ``wrap`` and ``consumer_class``.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end_in_time(*_signal: object) -> None:
        # Not the loop's own handler, which a blocked loop would never run.
        exit_within(settings.worker.drain_timeout_s + STOP_GRACE_S, EXIT_STOPPED)
        with suppress(RuntimeError):  # a second signal, and the loop is closed already
            loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end_in_time)
    async with open_components(settings, validators, wrap) as components:
        worker = Worker(settings, components, consumer_class)
        starting = asyncio.create_task(worker.start())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            await stopping
            await worker.stop()
        else:
            starting.cancel()


async def wait_for_topics(admin: KafkaAdmin, last_error: LastKafkaError, settings: Settings) -> None:
    """Wait until the cluster answers and has one of the topics; the others are found once they are created.

    Logs what is missing meanwhile; there is no timeout. ``last_error`` is the ``error_cb`` of ``admin``.
    """
    wait_s = FIRST_WAIT_S
    while missing := await asyncio.to_thread(_missing, admin, last_error, settings):
        log.warning("waiting: %s", missing)
        await asyncio.sleep(wait_s)
        wait_s = min(LONGEST_WAIT_S, wait_s * 2)


def _missing(admin: KafkaAdmin, last_error: LastKafkaError, settings: Settings) -> str | None:
    missing = []
    for topic in settings.by_topic():
        try:
            admin.partitions(topic)
        except TopicMissingError:
            missing.append(f"there is no topic {topic!r}")
        except KafkaException:
            admin.report_errors()
            return f"Kafka does not answer at {settings.kafka.bootstrap_servers}: {last_error.explain()}"
        else:
            return None
    return f"{', '.join(missing)}; `keepstream topics ensure` creates it"


class Worker:
    """A member of the consumer group."""

    def __init__(self, settings: Settings, components: Components, consumer_class: type[BatchConsumer]) -> None:
        self._settings, metrics = settings, components.metrics
        self._dispatcher = Dispatcher(
            components.process,
            recover=components.recover,
            buffer_bytes=settings.worker.buffer_bytes,
            on_fenced=lambda partition: self._assignment.restart(partition),  # noqa: PLW0108 - it comes a line later
            on_fatal=exit_fatal,
            limit=TransactionLimit(settings.worker.transaction_size, settings.worker.batch_max_bytes),
        )
        self._assignment = Assignment(self._dispatcher, components.offsets, metrics, settings.kafka)
        limit_s = settings.worker.progress_timeout_s
        self._last_kafka_error = LastKafkaError(settings.kafka)
        self._kafka = KafkaAdmin(librdkafka_settings(settings.kafka), KAFKA_TIMEOUT_S, self._last_kafka_error)
        stalls = StallDetector(limit_s, self._kafka.ends, components.stores, self._dispatcher)
        self._health = Health(metrics, self._assignment, stalls)
        self._endpoint = Endpoint(settings.http, self._health) if settings.http.enabled else None
        self._app = build_app(settings, self._assignment, consumer_class)
        gauges = GaugeSampler(metrics, self._health, self._assignment, self._check)
        probe = DependencyProbe(self._health, metrics, components.totals, self._kafka)
        self._watchdog = LoopWatchdog(settings.worker.loop_timeout_s)
        regressions = OffsetRegressionMonitor(self._dispatcher, components.offsets, self._assignment.restart)
        membership = MembershipMonitor(
            settings.kafka.group_id,
            limit_s,
            lambda: self._assignment.group_error,
            lambda: KAFKA not in self._health.missing,
        )
        recreated = RecreatedTopicMonitor(
            lambda: self._assignment.topic_ids, self._kafka.topic_ids, self._assignment.start
        )
        self._monitors = {
            "re-created topics": recreated.run,
            "group membership": membership.run,
            "offset regressions": regressions.run,
            "gauges": gauges.run,
            "dependency probe": probe.run,
            "stall detector": stalls.run,
        }
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        if self._endpoint:
            self._endpoint.start()
        self._watchdog.start()
        self._tasks = [critical_task(monitor(), name) for name, monitor in self._monitors.items()]
        await wait_for_topics(self._kafka, self._last_kafka_error, self._settings)
        await self._app.start()
        _tune_gc()

    async def stop(self) -> None:
        """Settle the batches in flight, commit and leave the group, before the deadline that `run` has set."""
        log.info("stopping: settling the batches in flight")
        self._health.stopping = True
        if not await self._dispatcher.drain(self._settings.worker.drain_timeout_s):
            log.warning("some batches did not settle in time; the next owner reads them again")
        await self._app.consumer.commit()
        self._assignment.close()
        self._watchdog.stop()
        for task in self._tasks:
            task.cancel()
        await self._app.stop()
        if self._endpoint:
            self._endpoint.stop()
        log.info("stopped")

    def _check(self) -> None:
        self._watchdog.beat()
        if self._app.crashed:
            exit_fatal(self._app.crash_reason or "Faust crashed")


def _tune_gc() -> None:
    """Exclude all present objects from cyclic garbage collection (`gc.freeze`), and collect new ones less often.

    By default it takes 15 % of the event loop under load: it scans the young generation every 700 objects, and at times
    everything that Faust and pydantic built at start. Batches are freed by their reference counts; cycles come from
    exceptions, which are rare.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG_OBJECTS, 20, 20)
