"""The arithmetic of two snapshots, and of what workers expose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from keepstream.app.cli.status_screen import screen
from keepstream.app.errors import UNREACHABLE, KeepstreamError
from keepstream.app.status.observer import StatusReading, StoreStatus, by_reason
from keepstream.app.status.report import report
from keepstream.app.status.snapshot import Snapshot, drain_s, duration_text, earlier, partition_rate, rate
from keepstream.app.status.workers import WorkerMetrics, workers_of
from keepstream.sinks.postgres.status import LastError, PartitionProgress

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
AWAY = KeepstreamError("away", "it does not answer", "start it", UNREACHABLE)


def settled(partition: int = 0, offset: int = 0, delivered: int = 0, failed: int = 0) -> PartitionProgress:
    return PartitionProgress(partition, offset, NOW, delivered, 0, 0, 0, failed)


def snapshot(
    at: float, ends: Mapping[int, tuple[int, int]] | None = None, *rows: PartitionProgress, **more: Any
) -> Snapshot:
    return Snapshot(at, {row.partition: row for row in rows}, ends or {}, **more)


def reported(now: Snapshot, before: Snapshot | None, **missing: KeepstreamError) -> dict[str, Any]:
    return report("events", StatusReading(now, StoreStatus(now.settled), missing, None), before)


def test_lag_starts_at_the_log_start_offset_and_is_never_negative() -> None:
    seen = snapshot(0, {0: (100, 150), 1: (0, 10), 2: (0, 5)}, settled(0, 20), settled(2, 9))
    assert [seen.lag(partition) for partition in (0, 1, 2)] == [50, 10, 0]
    assert seen.lag_sum == 60


def test_rates_are_over_ten_seconds_once_there_are_enough_snapshots() -> None:
    snapshots = [snapshot(at) for at in (0.0, 4.0, 8.0, 12.0, 16.0)]
    assert earlier(snapshots) is snapshots[1]
    assert earlier(snapshots[:2]) is snapshots[0]
    assert earlier(snapshots[:1]) is None


def test_the_rate_in_is_the_growth_of_the_log_and_out_that_of_the_counters() -> None:
    before = snapshot(10, {0: (0, 1_000_000)})
    now = snapshot(14, {0: (0, 1_000_400)}, settled(0, 1_000_100, delivered=90, failed=10))
    assert rate(now, before, "end_sum") == 100
    assert rate(now, before, "settled_sum") == 25  # not a million: offsets begin anywhere


def test_a_topic_that_was_re_created_does_not_run_backwards() -> None:
    assert rate(snapshot(2, {0: (0, 5)}), snapshot(1, {0: (0, 900)}), "end_sum") == 0
    back = partition_rate(snapshot(2, None, settled(0, 5)), snapshot(1, None, settled(0, 900)), 0)
    assert back == 0


@pytest.mark.parametrize(("name", "unavailable"), [("end_sum", "ends"), ("settled_sum", "settled")])
def test_an_unavailable_field_gives_no_rate(name: str, unavailable: str) -> None:
    half = snapshot(1, unavailable=frozenset({unavailable}))
    whole = snapshot(2, {0: (0, 50)}, settled(0, 50, delivered=50))
    assert rate(whole, half, name) is None
    assert rate(whole, None, name) is None
    assert rate(whole, snapshot(1), name) == 50


@pytest.mark.parametrize(
    ("lag", "per_s", "seconds", "said"),
    [(0, None, 0.0, "now"), (9, None, None, "\N{EN DASH}"), (9, 0.0, math.inf, "stands still"), (9, 2.0, 4.5, "5 s"),
     (6000, 10.0, 600.0, "10 min"), (90_000, 5.0, 18_000.0, "5.0 h")],
)  # fmt: skip
def test_time_to_drain(lag: int, per_s: float | None, seconds: float | None, said: str) -> None:
    assert drain_s(lag, per_s) == seconds
    assert duration_text(seconds) == said


EXPOSED = """# TYPE keepstream_events_received_total counter
keepstream_events_received_total{topic="events"} 10
# TYPE keepstream_events_received_created gauge
keepstream_events_received_created{topic="events"} 1.7e9
keepstream_events_received_total{topic="other"} 99
# TYPE keepstream_step_retries_total counter
keepstream_step_retries_total{topic="events",step="store"} 3
keepstream_step_retries_total{topic="other",step="store"} 40
# TYPE keepstream_step_failures_total counter
keepstream_step_failures_total{topic="events",step="store",verdict="transient",reason="timeout"} 3
keepstream_step_failures_total{topic="events",step="store",verdict="systemic",reason="database_unreachable"} 0
keepstream_step_failures_total{topic="other",step="store",verdict="systemic",reason="database_unreachable"} 40
# TYPE keepstream_paused_partitions gauge
keepstream_paused_partitions{topic="events"} 1
keepstream_paused_partitions{topic="other"} 8
# TYPE keepstream_consumer_lag_events gauge
keepstream_consumer_lag_events{topic="events",partition="0"} 7
# TYPE keepstream_oldest_unsettled_timestamp_seconds gauge
keepstream_oldest_unsettled_timestamp_seconds{topic="events",partition="0"} 1000.5
"""


def test_worker_metrics_are_summed_for_one_topic_only() -> None:
    further = EXPOSED.replace("} 7", "} 4").replace("1000.5", "999.5")
    found = workers_of([EXPOSED, further], 3, "events")
    assert (found.answered, found.asked, found.received, found.retries, found.paused) == (2, 3, 20, 6, 2)
    assert found.failures == {("store", "transient", "timeout"): 6}
    assert found.lag == {0: 4}
    assert found.oldest_unsettled_s == 999.5


def test_a_worker_whose_counters_have_no_topic_yet_is_counted() -> None:
    """In a rolling update some workers are of a version with one topic."""
    before = EXPOSED.replace('topic="events",step', "step").replace('partitions{topic="events"}', "partitions")
    assert workers_of([before], 1, "events") == workers_of([EXPOSED], 1, "events")


def test_without_postgresql_rates_and_lag_come_from_the_workers() -> None:
    unavailable = frozenset({"settled"})
    before = snapshot(0, {0: (0, 10)}, workers=WorkerMetrics(1, 1, processed=100, lag={0: 80}), unavailable=unavailable)
    now = snapshot(4, {0: (0, 20)}, workers=WorkerMetrics(1, 1, processed=180, lag={0: 40}), unavailable=unavailable)
    said = reported(now, before, PostgreSQL=AWAY)
    assert (said["rates"]["out_per_s"], said["rates"]["out_from"]) == (20, "workers")
    assert (said["rates"]["in_per_s"], said["rates"]["in_from"]) == (2.5, "Kafka")
    assert (said["lag"]["total"], said["lag"]["drain_s"], said["lag"]["from"]) == (40, 2.0, "workers")
    assert said["outcomes"] is said["dead_letters"] is said["last_errors"] is None


def test_a_restarted_worker_gives_no_rate() -> None:
    unavailable = frozenset({"settled", "ends"})
    now = snapshot(4, workers=WorkerMetrics(1, 1, processed=3), unavailable=unavailable)
    assert (
        reported(now, snapshot(0, workers=WorkerMetrics(1, 1, processed=9), unavailable=unavailable))["rates"][
            "out_per_s"
        ]
        is None
    )
    assert (
        reported(now, snapshot(0, workers=WorkerMetrics(0, 1), unavailable=unavailable))["rates"]["out_per_s"] is None
    )


def test_without_any_server_every_value_is_none() -> None:
    unavailable = snapshot(4, unavailable=frozenset({"settled", "ends"}), workers=WorkerMetrics(0, 1))
    said = reported(unavailable, unavailable, Kafka=AWAY, PostgreSQL=AWAY)
    assert said["lag"] is said["outcomes"] is said["rates"]["in_per_s"] is said["workers"]["retries"] is None
    assert [part["part"] for part in said["missing"]] == ["Kafka", "PostgreSQL"]


def test_an_unprocessed_backlog_is_at_standstill() -> None:
    before, now = snapshot(0, {0: (0, 9)}), snapshot(2, {0: (0, 9)})
    lag = reported(now, before)["lag"]
    assert (lag["total"], lag["drain_s"], lag["standstill"]) == (9, None, True)


def test_dead_letters_are_counted_by_reason_while_they_are_open() -> None:
    rows = [
        {"reason": reason, "state": state, "letters": letters}
        for reason, state, letters in (("a", "open", 1), ("b", "open", 2), ("b", "planned", 3), ("b", "settled", 9))
    ]
    assert [*by_reason(rows).items()] == [("b", 5), ("a", 1)]


def test_the_screen_shows_control_characters_and_brackets_as_they_are() -> None:
    error = LastError(NOW, "validate", "record", "invalid_json", "events-0-1", None, "[red]\x1b[31mboo\n")
    ledger = StoreStatus({}, (), (error,), {"invalid_json": 1})
    seen = StatusReading(snapshot(1, {0: (0, 3)}), ledger, {"workers": AWAY}, (NOW - timedelta(hours=3)).timestamp())
    said = report("events", seen, None) | {"at": NOW}
    console = Console(width=160, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(screen(said, 160))
    text = captured.get()
    assert "\x1b[31m" not in text
    assert r"[red]\x1b[31mboo" in text
    assert "3.0 h ago" in text
    assert "workers missing: it does not answer. Start it." in text
