"""What the probes make of answers and silence."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, cast

import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException
from psycopg_pool import PoolTimeout

from keepstream.app.worker.health import KAFKA, POSTGRES, DependencyProbe, Health
from keepstream.schemas.outcome import Totals
from keepstream.sinks.kafka.admin import TopicMissingError
from keepstream.sinks.prometheus.metrics import PrometheusMetrics
from tests.unit.test_metrics import value

GOOD = Totals({"delivered": 1}, 0, None, {})


@dataclass
class FakeStanding:
    """PostgreSQL's answer, or what it raises."""

    answer: Totals | Exception = field(default_factory=lambda: GOOD)

    async def read(self) -> Totals:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class FakeAdmin:
    """Kafka's answers, or what asking raises."""

    leaderless_partitions: list[int] | Exception = field(default_factory=list)
    unconnected: int = 0
    """Attempts at which no client can be made."""

    def connect(self) -> None:
        self.unconnected -= 1
        if self.unconnected >= 0:
            raise KafkaException(KafkaError(KafkaError._FAIL))

    def leaderless(self, topic: str) -> list[int]:
        assert topic == "events"
        if isinstance(self.leaderless_partitions, Exception):
            raise self.leaderless_partitions
        return self.leaderless_partitions


def probes_of(standing: Any, kafka: FakeAdmin | None = None) -> DependencyProbe:
    metrics = PrometheusMetrics(["events"])
    return DependencyProbe(Health(metrics), metrics, {"events": standing}, cast("Any", kafka or FakeAdmin()))


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (GOOD, None),
        (psycopg.OperationalError("secret"), "it does not answer"),
        (psycopg.errors.InsufficientPrivilege("secret"), "it refuses: insufficient_privilege"),
        (PoolTimeout("secret"), "it does not answer"),
        (TimeoutError(), "it does not answer"),
        (psycopg.errors.UndefinedTable("x"), "a table is missing; run `keepstream db migrate`"),
    ],
)
async def test_what_postgres_answers(answer: Any, trouble: str | None) -> None:
    probes = probes_of(FakeStanding(answer))
    assert await probes._postgres("events") == trouble
    assert value(probes.metrics, "recorded_events_total", "events", "delivered") == (None if trouble else 1)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ([], None),
        (TopicMissingError("events"), "there is no topic 'events'"),
        ([1, 2], "partitions [1, 2] have no leader"),
        (KafkaException(KafkaError(KafkaError._TRANSPORT)), "it does not answer"),
    ],
)
def test_what_kafka_answers(answer: Any, error: str | None) -> None:
    assert probes_of(FakeStanding(), FakeAdmin(answer))._kafka() == error


async def test_old_totals_stay_while_postgres_is_away_and_their_age_tells() -> None:
    standing = FakeStanding()
    probes = probes_of(standing)
    await probes._postgres("events")
    read_at = value(probes.metrics, "ledger_read_timestamp_seconds", "events")
    standing.answer = TimeoutError()
    await asyncio.sleep(0.01)
    await probes._postgres("events")
    assert value(probes.metrics, "recorded_events_total", "events", "delivered") == 1
    assert value(probes.metrics, "ledger_read_timestamp_seconds", "events") == read_at


def test_a_missing_part_is_told_once_and_its_return_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "keepstream.app.worker.health")
    probes = probes_of(FakeStanding())
    for trouble in (None, "gone", "gone", None, None):
        probes._note(KAFKA, trouble)
        probes._note(POSTGRES, None)
        assert probes.health.missing == ({KAFKA: trouble} if trouble else {})
    assert [record.message for record in caplog.records] == ["not ready: Kafka: gone", "Kafka is available again"]


@pytest.mark.parametrize(("unconnected", "missing"), [(10**6, True), (1, False)])
async def test_without_a_client_kafka_is_missing_until_one_can_be_made(
    unconnected: int, missing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Librdkafka makes no client without a token."""
    monkeypatch.setattr("keepstream.app.worker.health.FIRST_PROBE_S", 0)
    monkeypatch.setattr("keepstream.app.worker.health.PROBE_S", 0.01)
    probes = probes_of(FakeStanding(), FakeAdmin(unconnected=unconnected))
    running = asyncio.create_task(probes.run())
    await asyncio.sleep(0.2)
    running.cancel()
    assert (KAFKA in probes.health.missing) == missing


async def test_another_topic_in_the_same_tables_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    probes = probes_of(FakeStanding(replace(GOOD, topics=["events", "orders"])))
    for _ in range(2):
        assert await probes._postgres("events") is None
    assert [record.args for record in caplog.records] == [("events", "orders")]


async def test_one_topics_postgresql_is_missing_under_its_name_and_the_totals_of_the_other_are_read() -> None:
    metrics = PrometheusMetrics(["events", "orders"])
    totals = {"events": FakeStanding(), "orders": FakeStanding(TimeoutError())}
    probes = DependencyProbe(Health(metrics), metrics, cast("Any", totals), cast("Any", FakeAdmin()))
    await asyncio.gather(*map(probes._probe_postgres, totals))
    assert probes.health.missing == {"PostgreSQL of orders": "it does not answer"}
    assert value(metrics, "recorded_events_total", "events", "delivered") == 1
    assert value(metrics, "ledger_read_timestamp_seconds", "orders") == 0
