"""Metrics and log lines of a batch, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from keepstream.app.telemetry.logging import CURRENT_BATCH
from keepstream.app.worker import instrumentation as observed
from keepstream.app.worker.instrumentation import InstrumentedPipeline
from keepstream.processors.partition_queue import PartitionRevokedError
from keepstream.schemas.failure import FencedError
from keepstream.schemas.outcome import BatchRange, OutcomeCounts
from keepstream.sinks.prometheus.metrics import PrometheusMetrics
from tests.builders import make_record
from tests.unit.test_metrics import value


class FakeBatch:
    """Three records."""

    records = tuple(make_record(offset=offset) for offset in (4, 5, 7))
    offset_range = BatchRange("events", 0, 4, 8, 3)


BATCH: Any = FakeBatch()


def ending_with(outcome: OutcomeCounts | BaseException) -> Callable[[Any], Awaitable[OutcomeCounts]]:
    async def process(_batch: Any) -> OutcomeCounts:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return process


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (PartitionRevokedError(), "abandoned"),
        (FencedError("events", 0, 4), "fenced"),
        (asyncio.CancelledError(), "abandoned"),
    ],
)
async def test_a_batch_that_was_not_settled_is_given_up_with_all_its_records(
    error: BaseException, outcome: str
) -> None:
    metrics = PrometheusMetrics(["events"])
    with pytest.raises(type(error)):
        await InstrumentedPipeline(ending_with(error), metrics)(BATCH)
    assert value(metrics, "events_received_total", "events") == 3
    assert value(metrics, "events_abandoned_total", "events") == 3
    assert value(metrics, "events_in_progress", "events") == 0
    assert value(metrics, "batches_total", outcome) == 1


async def test_records_are_in_progress_while_their_batch_is_worked_on() -> None:
    metrics = PrometheusMetrics(["events"])
    seen = []

    async def process(_batch: Any) -> OutcomeCounts:
        seen.append((value(metrics, "events_in_progress", "events"), CURRENT_BATCH.get()))
        return OutcomeCounts(3)

    assert await InstrumentedPipeline(process, metrics)(BATCH) == OutcomeCounts(3)
    assert seen == [(3, BATCH)]
    assert value(metrics, "events_in_progress", "events") == 0
    assert value(metrics, "events_abandoned_total", "events") == 0
    assert value(metrics, "batches_total", "settled") == 1


@pytest.mark.parametrize(("slow_s", "level"), [(60.0, "debug"), (-1.0, "info")])
async def test_a_slow_batch_is_told_at_info_the_others_at_debug(
    slow_s: float, level: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(observed, "SLOW_S", slow_s)
    caplog.set_level("DEBUG", "keepstream")
    with capture_logs() as lines:
        await InstrumentedPipeline(ending_with(OutcomeCounts(1, 1, 0, 1)), PrometheusMetrics(["events"]))(BATCH)
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("batch settled", level)
    assert (line["last_offset"], line["delivered"], line["duplicate"], line["dead_lettered"]) == (7, 1, 1, 1)
    assert line["duration_s"] >= 0
