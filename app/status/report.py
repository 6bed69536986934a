"""The report of `keepstream status`, from two snapshots."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from keepstream.app.status.observer import KAFKA, POSTGRES, WORKERS, StatusReading
from keepstream.app.status.snapshot import OUTCOMES, Snapshot, drain_s, partition_rate, rate


def report(topic: str, reading: StatusReading, before: Snapshot | None) -> dict[str, Any]:
    """Return the report as plain values. Unknown values are None, never 0; rates are per second."""
    snapshot, missing = reading.snapshot, reading.missing
    return {
        "topic": topic,
        "at": datetime.now(UTC),
        "missing": [
            {"part": part, "code": error.code, "message": error.message, "hint": error.hint}
            for part, error in missing.items()
        ],
        "rates": _rates(snapshot, before),
        "outcomes": None if POSTGRES in missing else {name: snapshot.count(name) for name in OUTCOMES},
        "lag": lag_of(snapshot, before),
        "oldest_unsettled_at": _time(reading.oldest_unsettled_s),
        "workers": _workers(snapshot),
        "dead_letters": None
        if POSTGRES in missing
        else {"open": sum(reading.store.reasons.values()), "by_reason": dict(reading.store.reasons)},
        "last_errors": None if POSTGRES in missing else [asdict(error) for error in reading.store.errors],
        "last_replays": None if POSTGRES in missing else [dict(run) for run in reading.store.replays],
    }


def _rates(snapshot: Snapshot, before: Snapshot | None) -> dict[str, Any]:
    """Return events in and out, with their source: the servers, or the workers when a server is unavailable."""
    come, gone = rate(snapshot, before, "end_sum"), rate(snapshot, before, "settled_sum")
    return {
        "in_per_s": worker_rate(snapshot, before, "received") if come is None else come,
        "in_from": WORKERS if come is None else KAFKA,
        "out_per_s": worker_rate(snapshot, before, "processed") if gone is None else gone,
        "out_from": WORKERS if gone is None else POSTGRES,
    }


def worker_rate(snapshot: Snapshot, before: Snapshot | None, name: str) -> float | None:
    """Return the growth of a counter of the workers; None when other workers answered before, or one restarted."""
    if before is None or snapshot.at <= before.at or not snapshot.workers.answered:
        return None
    difference: int = getattr(snapshot.workers, name) - getattr(before.workers, name)
    if snapshot.workers.answered != before.workers.answered or difference < 0:
        return None
    return difference / (snapshot.at - before.at)


def lag_of(snapshot: Snapshot, before: Snapshot | None) -> dict[str, Any] | None:
    """Return the lag per partition; without a server, as last reported by the workers."""
    if snapshot.unavailable and not snapshot.workers.lag:
        return None
    if snapshot.unavailable:
        rows = [_row(partition, lag, None) for partition, lag in sorted(snapshot.workers.lag.items())]
        return _totals(rows, worker_rate(snapshot, before, "processed"), WORKERS)
    rows = [_partition(snapshot, before, partition) for partition in sorted(snapshot.ends)]
    return _totals(rows, rate(snapshot, before, "settled_sum"), POSTGRES)


def _totals(rows: list[dict[str, Any]], per_s: float | None, source: str) -> dict[str, Any]:
    total = sum(row["lag"] for row in rows)
    return {"total": total, **_drain(total, per_s), "from": source, "partitions": rows}


def _partition(snapshot: Snapshot, before: Snapshot | None, partition: int) -> dict[str, Any]:
    one = snapshot.settled.get(partition)
    row = _row(partition, snapshot.lag(partition), partition_rate(snapshot, before, partition))
    return row | {
        "settled": one and one.next_offset,
        "end": snapshot.ends[partition][1],
        "settled_at": one and one.moved_at,
    }


def _row(partition: int, lag: int, per_s: float | None) -> dict[str, Any]:
    return {"partition": partition, "lag": lag, **_drain(lag, per_s)}


def _drain(lag: int, per_s: float | None) -> dict[str, Any]:
    """JSON has no infinity: ``drain_s`` is None and ``standstill`` true at rate 0."""
    seconds = drain_s(lag, per_s)
    still = seconds is not None and math.isinf(seconds)
    return {"drain_s": None if seconds is None or still else round(seconds, 1), "standstill": still}


def _workers(snapshot: Snapshot) -> dict[str, Any]:
    workers = snapshot.workers
    answered = workers.answered > 0
    ranked = sorted(workers.failures.items(), key=lambda item: -item[1])
    return {
        "asked": workers.asked,
        "answered": workers.answered,
        "retries": workers.retries if answered else None,
        "held_partitions": workers.paused if answered else None,
        "not_ready": dict(workers.not_ready),
        "step_failures": [
            {"step": step, "verdict": verdict, "reason": reason, "attempts": count}
            for (step, verdict, reason), count in ranked
        ],
    }


def _time(unix_s: float | None) -> datetime | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC)
