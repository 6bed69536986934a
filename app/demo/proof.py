"""The proof: the producer's counts against an audit of PostgreSQL and both topics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from keepstream.app.demo.traffic import DemoProducer
from keepstream.processors.audit import SUM_OF_OUTCOMES, check_accounts
from keepstream.schemas.audit import Check, PartitionAccount
from keepstream.schemas.outcome import Outcome
from keepstream.schemas.record import KafkaRecord, header
from keepstream.sinks.postgres.audit import partition_accounts

_DEAD_LETTERS = (
    "SELECT step, reason, count(*) FROM dead_letters WHERE topic = %s GROUP BY step, reason ORDER BY 3 DESC, 2"
)
_BURST = """
WITH settled AS (SELECT {commit} AS at FROM events WHERE source_topic = %s AND metadata ->> 'phase' = 'burst')
SELECT count(*), extract(epoch FROM max(at) - min(at))::float8 FROM settled"""
_LATENCY = """
SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM {commit} - created_at))::float8[]
FROM events WHERE source_topic = %s AND metadata ->> 'phase' = 'live'"""


@dataclass(frozen=True, slots=True)
class Proof:
    """All checks and measurements. The backlog's events and seconds are from its first commit to its last."""

    checks: list[Check]
    dead_letters: list[tuple[str, str, int]]
    burst_events: int
    burst_s: float
    p50_s: float
    p99_s: float
    exact_commit_times: bool

    @property
    def burst_rate(self) -> float:
        return self.burst_events / self.burst_s if self.burst_s else 0.0

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)


def prove(
    connection: psycopg.Connection[tuple[Any, ...]],
    topic: str,
    producer: DemoProducer,
    dead_records: Iterable[KafkaRecord],
    discrepancies: int,
) -> Proof:
    """Compare the producer's counts with the accounts; ``discrepancies`` is the number found by a deep audit."""
    found = partition_accounts(connection)
    checks = [*_checks(producer, found, dead_records), *check_accounts(found)]
    checks.append(Check("records neither stored nor dead-lettered, or both = 0", discrepancies, 0))
    dead_letters = [
        (str(step), str(reason), int(count)) for step, reason, count in connection.execute(_DEAD_LETTERS, [topic])
    ]
    exact = connection.execute("SHOW track_commit_timestamp").fetchall()[0][0] == "on"
    commit = "pg_xact_commit_timestamp(xmin)" if exact else "updated_at"
    burst, span_s = connection.execute(_BURST.format(commit=commit), [topic]).fetchall()[0]
    (latencies,) = connection.execute(_LATENCY.format(commit=commit), [topic]).fetchall()[0]
    p50_s, p99_s = latencies or (0.0, 0.0)
    return Proof(checks, dead_letters, burst, span_s or 0.0, p50_s, p99_s, exact)


def _checks(
    producer: DemoProducer, found: Sequence[PartitionAccount], dead_records: Iterable[KafkaRecord]
) -> Iterator[Check]:
    counted = {one: sum(getattr(account, one.value) for account in found) for one in Outcome}
    produced = producer.acknowledged
    yield Check(f"produced = {SUM_OF_OUTCOMES}", produced, sum(counted.values()))
    for outcome, count in counted.items():
        yield Check(f"{outcome.value.replace('_', '-')}: counted = expected", count, producer.produced[outcome])
    unique = {header(record, "keepstream.dlq.id"): record.value for record in dead_records}
    same = sum((Counter(unique.values()) & producer.dead_values).values())
    yield Check("dead letters with unchanged bytes = expected", same, producer.produced[Outcome.DEAD_LETTERED])
