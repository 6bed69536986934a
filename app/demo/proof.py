"""The proof: what the producer knows, and an audit of what PostgreSQL and both topics hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from keepstream.app.demo.producer import DemoProducer
from keepstream.processors.audit import checks as audit_checks
from keepstream.schemas.audit import Check, PartitionAccount
from keepstream.schemas.outcome import Outcome
from keepstream.schemas.record import KafkaRecord, header
from keepstream.sinks.postgres.audit import books

_DEATHS = "SELECT step, reason, count(*) FROM dead_letters WHERE topic = %s GROUP BY step, reason ORDER BY 3 DESC, 2"
_BURST = """
WITH settled AS (SELECT {moment} AS at FROM events WHERE source_topic = %s AND metadata ->> 'phase' = 'burst')
SELECT count(*), extract(epoch FROM max(at) - min(at))::float8 FROM settled"""
_LATENCY = """
SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM {moment} - created_at))::float8[]
FROM events WHERE source_topic = %s AND metadata ->> 'phase' = 'live'"""


@dataclass(frozen=True, slots=True)
class Proof:
    """All checks, and what was measured on the way. Rates are events/s, latencies seconds."""

    checks: list[Check]
    deaths: list[tuple[str, str, int]]
    burst_rate: float
    p50_s: float
    p99_s: float
    exact_commit_times: bool = field(default=True)

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)


def prove(
    connection: psycopg.Connection[tuple[Any, ...]],
    topic: str,
    shop: DemoProducer,
    dead_records: Iterable[KafkaRecord],
    differences: int,
) -> Proof:
    """Hold what the shop knows against the audit's books; ``differences`` is what a deep audit found."""
    found = books(connection)
    checks = [*_checks(shop, found, dead_records), *audit_checks(found)]
    checks.append(Check("records in neither place or in both = 0", differences, 0))
    deaths = [(str(step), str(reason), int(count)) for step, reason, count in connection.execute(_DEATHS, [topic])]
    exact = connection.execute("SHOW track_commit_timestamp").fetchall()[0][0] == "on"
    moment = "pg_xact_commit_timestamp(xmin)" if exact else "updated_at"
    burst, span_s = connection.execute(_BURST.format(moment=moment), [topic]).fetchall()[0]
    (latencies,) = connection.execute(_LATENCY.format(moment=moment), [topic]).fetchall()[0]
    p50_s, p99_s = latencies or (0.0, 0.0)
    return Proof(checks, deaths, burst / span_s if span_s else 0.0, p50_s, p99_s, exact)


def _checks(
    shop: DemoProducer, found: Sequence[PartitionAccount], dead_records: Iterable[KafkaRecord]
) -> Iterator[Check]:
    counted = {fate: sum(getattr(book, fate.value) for book in found) for fate in Outcome}
    produced = shop.acknowledged
    yield Check("produced = delivered + duplicate + stale + dead-lettered", produced, sum(counted.values()))
    for fate, count in counted.items():
        yield Check(f"{fate.value.replace('_', '-')}: counted = meant", count, shop.produced[fate])
    unique = {header(record, "keepstream.dlq.id"): record.value for record in dead_records}
    same = sum((Counter(unique.values()) & shop.dead_values).values())
    yield Check("dead letters with untouched bytes = meant", same, shop.produced[Outcome.DEAD_LETTERED])
