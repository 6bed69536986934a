"""What `keepstream status` reports, from two looks: one object for pipes, and what its screen shows."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from keepstream.app.status.observer import KAFKA, POSTGRES, WORKERS, StatusReading
from keepstream.app.status.snapshot import OUTCOMES, Look, drain_s, partition_rate, rate


def report(topic: str, seen: StatusReading, before: Look | None) -> dict[str, Any]:
    """Return the whole state as plain values. What is not known is None, never 0; rates are per second."""
    look, missing = seen.look, seen.missing
    return {
        "topic": topic,
        "at": datetime.now(UTC),
        "missing": [
            {"part": part, "code": trouble.code, "message": trouble.message, "hint": trouble.hint}
            for part, trouble in missing.items()
        ],
        "rates": _rates(look, before),
        "outcomes": None if POSTGRES in missing else {name: look.count(name) for name in OUTCOMES},
        "lag": lag_of(look, before),
        "oldest_unsettled_at": _moment(seen.oldest_unsettled_s),
        "workers": _workers(look),
        "dead_letters": None
        if POSTGRES in missing
        else {"open": sum(seen.ledger.reasons.values()), "by_reason": dict(seen.ledger.reasons)},
        "last_errors": None if POSTGRES in missing else [asdict(error) for error in seen.ledger.errors],
        "last_replays": None if POSTGRES in missing else [dict(run) for run in seen.ledger.replays],
    }


def _rates(look: Look, before: Look | None) -> dict[str, Any]:
    """Return events in and out, each with who says so: the servers, or the workers where a server is missing."""
    come, gone = rate(look, before, "end_sum"), rate(look, before, "settled_sum")
    return {
        "in_per_s": worker_rate(look, before, "received") if come is None else come,
        "in_from": WORKERS if come is None else KAFKA,
        "out_per_s": worker_rate(look, before, "processed") if gone is None else gone,
        "out_from": WORKERS if gone is None else POSTGRES,
    }


def worker_rate(look: Look, before: Look | None, name: str) -> float | None:
    """Return how fast a counter of the workers grew; None when others answered before, or one began anew."""
    if before is None or look.at <= before.at or not look.workers.answered:
        return None
    difference: int = getattr(look.workers, name) - getattr(before.workers, name)
    if look.workers.answered != before.workers.answered or difference < 0:
        return None
    return difference / (look.at - before.at)


def lag_of(look: Look, before: Look | None) -> dict[str, Any] | None:
    """Return the lag per partition; where a server is missing, the workers' last word has to do."""
    if look.blind and not look.workers.lag:
        return None
    if look.blind:
        rows = [_row(partition, lag, None) for partition, lag in sorted(look.workers.lag.items())]
        return _totals(rows, worker_rate(look, before, "processed"), WORKERS)
    rows = [_partition(look, before, partition) for partition in sorted(look.ends)]
    return _totals(rows, rate(look, before, "settled_sum"), POSTGRES)


def _totals(rows: list[dict[str, Any]], per_s: float | None, said_by: str) -> dict[str, Any]:
    total = sum(row["lag"] for row in rows)
    return {"total": total, **_drain(total, per_s), "from": said_by, "partitions": rows}


def _partition(look: Look, before: Look | None, partition: int) -> dict[str, Any]:
    one = look.settled.get(partition)
    row = _row(partition, look.lag(partition), partition_rate(look, before, partition))
    return row | {
        "settled": one and one.next_offset,
        "end": look.ends[partition][1],
        "settled_at": one and one.moved_at,
    }


def _row(partition: int, lag: int, per_s: float | None) -> dict[str, Any]:
    return {"partition": partition, "lag": lag, **_drain(lag, per_s)}


def _drain(lag: int, per_s: float | None) -> dict[str, Any]:
    """JSON has no infinity: who stands still drains in None seconds."""
    seconds = drain_s(lag, per_s)
    still = seconds is not None and math.isinf(seconds)
    return {"drain_s": None if seconds is None or still else round(seconds, 1), "standstill": still}


def _workers(look: Look) -> dict[str, Any]:
    workers = look.workers
    heard = workers.answered > 0
    ranked = sorted(workers.failures.items(), key=lambda item: -item[1])
    return {
        "asked": workers.asked,
        "answered": workers.answered,
        "retries": workers.retries if heard else None,
        "held_partitions": workers.paused if heard else None,
        "not_ready": dict(workers.not_ready),
        "step_failures": [
            {"step": step, "verdict": verdict, "reason": reason, "attempts": count}
            for (step, verdict, reason), count in ranked
        ],
    }


def _moment(unix_s: float | None) -> datetime | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC)
