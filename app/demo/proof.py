"""The proof: what was produced against what PostgreSQL and the dead letter topic hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from schemas.outcome import Fate
from schemas.record import KafkaRecord, header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import psycopg

_ROWS = "SELECT status, count(*) FROM events WHERE source_topic = %s GROUP BY status"
_COUNTERS = """
SELECT sum(total)::bigint, sum(delivered)::bigint, sum(duplicate)::bigint, sum(stale)::bigint, sum(failed)::bigint
FROM event_counters WHERE topic = %s"""
_DEATHS = "SELECT step, reason, count(*) FROM dead_letters WHERE topic = %s GROUP BY step, reason ORDER BY 3 DESC, 2"
_BURST = """
WITH settled AS (SELECT {moment} AS at FROM events WHERE source_topic = %s AND metadata ->> 'phase' = 'burst')
SELECT count(*), extract(epoch FROM max(at) - min(at))::float8 FROM settled"""
_LATENCY = """
SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM {moment} - created_at))::float8[]
FROM events WHERE source_topic = %s AND metadata ->> 'phase' = 'live'"""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the proof."""

    claim: str
    left: int
    right: int

    @property
    def holds(self) -> bool:
        return self.left == self.right


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
    produced: Mapping[Fate, int],
    dead_values: Counter[bytes | None],
    dead_records: list[KafkaRecord],
) -> Proof:
    """Compare the three ledgers: the producer's, PostgreSQL's and the dead letter topic's."""
    rows = dict(connection.execute(_ROWS, [topic]).fetchall())
    counted = [int(value or 0) for value in connection.execute(_COUNTERS, [topic]).fetchall()[0]]
    deaths = [(str(step), str(reason), int(count)) for step, reason, count in connection.execute(_DEATHS, [topic])]
    unique = {header(record, "keepstream.dlq.id"): record for record in dead_records}
    exact = connection.execute("SHOW track_commit_timestamp").fetchall()[0][0] == "on"
    moment = "pg_xact_commit_timestamp(xmin)" if exact else "updated_at"
    burst, span_s = connection.execute(_BURST.format(moment=moment), [topic]).fetchall()[0]
    (latencies,) = connection.execute(_LATENCY.format(moment=moment), [topic]).fetchall()[0]
    p50_s, p99_s = latencies or (0.0, 0.0)
    checks = list(_checks(produced, rows, counted, len(unique), dead_values, [r.value for r in unique.values()]))
    return Proof(checks, deaths, burst / span_s if span_s else 0.0, p50_s, p99_s, exact)


def _checks(
    produced: Mapping[Fate, int],
    rows: Mapping[str, int],
    counted: list[int],
    dead: int,
    dead_values: Counter[bytes | None],
    found_values: list[bytes | None],
) -> Iterator[Check]:
    total, delivered, duplicate, stale, failed = counted
    yield Check("produced = delivered + duplicate + stale + dead-lettered", sum(produced.values()),
                delivered + duplicate + stale + failed)  # fmt: skip
    yield Check("records counted = produced", total, sum(produced.values()))
    yield Check("counter of delivered = rows in events", delivered, sum(rows.values()))
    yield Check("rows still pending = 0", rows.get("pending", 0), 0)
    for fate, count in zip(Fate, (delivered, duplicate, stale, failed), strict=True):
        yield Check(f"{fate.value.replace('_', '-')}: counted = meant", count, produced.get(fate, 0))
    yield Check("dead letters in the topic = counted", dead, failed)
    same = sum((Counter(found_values) & dead_values).values())
    yield Check("dead letters with untouched bytes = meant", same, produced.get(Fate.DEAD_LETTERED, 0))
