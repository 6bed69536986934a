"""``/livez`` and ``/readyz``, asked over HTTP while the loop turns, is frozen, and gets nowhere."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import KafkaException

from keepstream.app.config.settings import HttpSettings
from keepstream.app.testing.memory import MemoryStore
from keepstream.app.worker import health as health_module
from keepstream.app.worker.health import KAFKA, POSTGRES, GaugeSampler, Health
from keepstream.app.worker.http_server import Endpoint
from keepstream.app.worker.watchdog import StallDetector
from keepstream.processors.dispatcher import Dispatcher
from keepstream.schemas.failure import Verdict
from keepstream.schemas.record import TopicPartition
from keepstream.sinks.prometheus.metrics import PrometheusMetrics
from tests.builders import make_failure
from tests.unit.test_metrics import value

PARTITION = TopicPartition("events", 0)


@dataclass
class FakeAssignment:
    """What health and gauges ask of the assignment."""

    ready: bool = True
    group_error: str | None = None
    dispatcher: Dispatcher = field(
        default_factory=lambda: Dispatcher(never, recover=never, buffer_bytes=1, on_fenced=never, on_fatal=print)
    )
    behind: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    delayed: list[TopicPartition] = field(default_factory=list)
    waiting_topics: list[str] = field(default_factory=list)

    def lags(self) -> Iterator[tuple[str, int, int]]:
        yield (*PARTITION, self.behind)


async def never(*_given: object) -> Any:
    raise NotImplementedError


@dataclass
class FixedEnds:
    """Kafka's answer; None when it does not answer."""

    end: int | None = 10

    def __call__(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        if self.end is None:
            raise KafkaException
        return dict.fromkeys(partitions, self.end)


@pytest.fixture
async def assignment() -> AsyncIterator[FakeAssignment]:
    """One partition, at offset 5."""
    assignment = FakeAssignment()
    assignment.dispatcher.open({PARTITION: 5})
    yield assignment
    assignment.dispatcher.close([PARTITION])


@pytest.fixture
def health(assignment: Any) -> Health:
    return Health(PrometheusMetrics(["events"]), assignment)


@pytest.fixture
def ask(health: Health) -> Iterator[Callable[[str], tuple[int, str]]]:
    """Ask the real endpoint."""
    endpoint = Endpoint(HttpSettings(port=0), health)
    endpoint.start()

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode().strip()

    yield get
    endpoint.stop()


async def test_a_frozen_loop_is_not_alive_and_one_that_turns_again_is(
    health: Health, assignment: Any, ask: Callable[[str], tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "LOOP_STUCK_AFTER_S", 0.3)
    monkeypatch.setattr("keepstream.app.worker.health.BEAT_S", 0.05)
    gauges = asyncio.create_task(GaugeSampler(health.metrics, health, assignment, lambda: None).run())
    await asyncio.sleep(0.1)
    assert ask("/livez")[0] == 200
    seen_in_freeze = asyncio.create_task(asyncio.to_thread(ask_later, ask, 0.5))
    await asyncio.sleep(0.01)
    time.sleep(0.8)  # noqa: ASYNC251 - the freeze
    status, why = await seen_in_freeze
    await asyncio.sleep(0.1)
    assert status == 503
    assert "event loop has been blocked" in why
    assert ask("/livez") == (200, "alive")
    assert health.metrics.loop_lag._value.get() > 0.5
    gauges.cancel()


def ask_later(ask: Callable[[str], tuple[int, str]], wait_s: float) -> tuple[int, str]:
    time.sleep(wait_s)
    return ask("/livez")


async def beats(detector: StallDetector, count: int) -> None:
    for _ in range(count):
        await detector.beat()


def detector_of(ends: FixedEnds, assignment: FakeAssignment) -> StallDetector:
    return StallDetector(100, ends, {"events": MemoryStore()}, assignment.dispatcher, on_stuck=pytest.fail)


async def test_lag_without_progress_is_not_alive_until_it_moves(
    health: Health, assignment: Any, ask: Callable[[str], tuple[int, str]]
) -> None:
    health.stalls = detector = detector_of(FixedEnds(10), assignment)
    await beats(detector, 40)
    assert ask("/livez")[0] == 200
    await beats(detector, 40)
    status, why = ask("/livez")
    assert (status, "events-0 has records to settle and has been at offset 5" in why) == (503, True)
    assignment.dispatcher.queues[0].settled_to = 6
    await beats(detector, 1)
    assert ask("/livez")[0] == 200


@pytest.mark.parametrize(
    ("end", "is_paused"), [(5, False), (10, True), (None, False)], ids=["no lag", "PostgreSQL is away", "Kafka is away"]
)
async def test_what_restarting_cannot_mend_is_alive(
    end: int | None, is_paused: bool, health: Health, assignment: Any, ask: Any
) -> None:
    health.stalls = detector = detector_of(FixedEnds(end), assignment)
    assignment.dispatcher.queues[0].paused = make_failure() if is_paused else None
    await beats(detector, 300)
    assert ask("/livez")[0] == 200


async def test_ready_names_every_part_that_is_missing(health: Health, assignment: FakeAssignment, ask: Any) -> None:
    assert ask("/readyz") == (200, "ready")
    health.missing = {KAFKA: "it does not answer", POSTGRES: "it does not answer"}
    assignment.ready = False
    assignment.group_error = "refused"
    assignment.dispatcher.queues[0].paused = make_failure(verdict=Verdict.SYSTEMIC, message="disk full")
    status, why = ask("/readyz")
    assert status == 503
    assert "Kafka: it does not answer" in why
    assert "PostgreSQL: it does not answer" in why
    assert "group: not a member: refused" in why
    assert "partitions: none assigned yet" in why
    assert "1 partitions are paused; events-0: disk full" in why
    assert ask("/livez")[0] == 200


async def test_ready_names_each_topic_that_is_not_settled(health: Health, assignment: FakeAssignment, ask: Any) -> None:
    others = [TopicPartition("orders", 1), TopicPartition("orders", 2)]
    assignment.dispatcher.open(dict.fromkeys(others, 0))
    for queue in assignment.dispatcher.queues:
        queue.paused = make_failure(message=f"{queue.topic} is broken")
    assignment.ready, assignment.waiting_topics, assignment.refused = False, ["payments"], {"refunds": "refunds: no"}
    _, why = ask("/readyz")
    assert "1 partitions are paused; events-0: events is broken" in why
    assert "2 partitions are paused; orders-1: orders is broken" in why
    assert "partitions of payments: none assigned yet" in why
    assert "refunds: no" in why
    assignment.dispatcher.close(others)


async def test_a_worker_that_stops_is_alive_and_not_ready(health: Health, ask: Any) -> None:
    health.stopping = True
    assert ask("/livez")[0] == 200
    assert ask("/readyz") == (503, "stopping")


async def test_metrics_are_served_as_prometheus_expects_them_and_nothing_else_is(health: Health, ask: Any) -> None:
    assert "keepstream_events_received_total" in ask("/metrics?x=1")[1]
    assert ask("/")[0] == 404


async def test_paused_partitions_are_counted_by_topic(assignment: Any) -> None:
    metrics = PrometheusMetrics(["events", "orders"])
    gauges = GaugeSampler(metrics, Health(metrics, assignment), assignment, lambda: None)
    other = TopicPartition("orders", 0)
    assignment.dispatcher.open({other: 0})
    (queue,) = (queue for queue in assignment.dispatcher.queues if queue.topic == "orders")
    for failure in (make_failure(), None):
        queue.paused = failure
        gauges.beat()
        assert value(metrics, "paused_partitions", "events") == 0
        assert value(metrics, "paused_partitions", "orders") == (1 if failure else 0)
    assignment.delayed = [TopicPartition("orders", 1), TopicPartition("orders", 2)]
    gauges.beat()
    assert value(metrics, "paused_partitions", "orders") == 2
    assignment.dispatcher.close([other])
