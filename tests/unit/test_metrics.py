"""What a scrape returns."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from schemas.failure import Step, Verdict
from schemas.outcome import Tally
from sinks.metrics import PrometheusMetrics
from tests.builders import make_dead_letter, make_failure

COUNTS = st.integers(0, 1000)
TALLIES = st.lists(st.builds(Tally, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS), max_size=5)
BOUNDED_LABELS = {"topic", "partition", "outcome", "step", "verdict", "reason", "version", "le"}
SYSTEM_LABELS = {"implementation", "major", "minor", "patchlevel"}


def scrape(metrics: PrometheusMetrics) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    samples = [sample for family in families for sample in family.samples]
    return {(s.name, tuple(sorted(s.labels.values()))): s.value for s in samples}


def value(metrics: PrometheusMetrics, name: str, *labels: str) -> float | None:
    return scrape(metrics).get((f"keepstream_{name}", tuple(sorted(labels))))


def busy() -> PrometheusMetrics:
    """Everything happened once."""
    metrics = PrometheusMetrics(["events"])
    metrics.watch_pool(lambda: {"pool_size": 4})
    metrics.batch_settled("events", 0, Tally(1, 1, 1, 1, 1), 1)
    metrics.step_took(Step.STORE, 0.1)
    metrics.attempt_failed(make_failure(), retried=True)
    metrics.dead_lettered([make_dead_letter()])
    metrics.paused("events", 0, make_failure(verdict=Verdict.SYSTEMIC, reason="dlq_unavailable"))
    metrics.fenced("events", 0)
    return metrics


@given(TALLIES)
def test_the_outcomes_add_up_to_what_was_received(tallies: list[Tally]) -> None:
    metrics = PrometheusMetrics(["events"])
    for tally in tallies:
        metrics.batch_settled("events", 0, tally, 1)
    samples = scrape(metrics)
    outcomes = [v for (name, _), v in samples.items() if name == "keepstream_events_processed_total"]
    assert sum(outcomes) == samples["keepstream_events_received_total", ("events",)] == sum(t.total for t in tallies)


@pytest.mark.parametrize("outcome", ["delivered", "duplicate", "stale", "dead_lettered"])
def test_every_outcome_is_there_from_the_start_as_zero(outcome: str) -> None:
    metrics = PrometheusMetrics(["events"])
    assert value(metrics, "events_processed_total", "events", outcome) == 0
    assert value(metrics, "events_received_total", "events") == 0


@pytest.mark.parametrize("name", ["rebalances_total", "fenced_batches_total", "dlq_publish_failures_total",
                                  "offset_commit_failures_total", "paused_partitions"])  # fmt: skip
def test_what_alerts_watch_is_there_from_the_start_as_zero(name: str) -> None:
    assert value(PrometheusMetrics(), name) == 0


@pytest.mark.parametrize("step", list(Step))
def test_retries_of_every_step_are_there_from_the_start_as_zero(step: Step) -> None:
    assert value(PrometheusMetrics(), "step_retries_total", step.value) == 0


def test_every_metric_has_our_prefix_and_a_help_text() -> None:
    families = list(text_string_to_metric_families(busy().render().decode()))
    assert all(family.documentation for family in families)
    ours = [family.name for family in families if not family.name.startswith(("process_", "python_"))]
    assert ours
    assert all(re.fullmatch("keepstream_[a-z_]+", name) for name in ours)


def test_no_label_can_grow_without_bound() -> None:
    families = text_string_to_metric_families(busy().render().decode())
    labels = {label for family in families for sample in family.samples for label in sample.labels}
    assert labels <= BOUNDED_LABELS | SYSTEM_LABELS


def test_no_text_of_a_failure_reaches_a_label() -> None:
    metrics = PrometheusMetrics()
    failure = make_failure(message="s3cret", sqlstate="s3cret")
    metrics.attempt_failed(failure, retried=False)
    metrics.dead_lettered([make_dead_letter(failure=failure, event_id="s3cret", correlation_id="s3cret")])
    assert b"s3cret" not in metrics.render()


def test_a_failure_counts_once_and_as_a_retry_only_when_it_is_retried() -> None:
    metrics = PrometheusMetrics()
    metrics.attempt_failed(make_failure(), retried=True)
    metrics.attempt_failed(make_failure(), retried=False)
    assert value(metrics, "step_failures_total", "store", "record", "check_violation") == 2
    assert value(metrics, "step_retries_total", "store") == 1


def test_dead_letters_are_counted_by_step_and_reason() -> None:
    metrics = PrometheusMetrics()
    other = make_dead_letter(failure=make_failure(step=Step.VALIDATE, reason="tombstone"))
    metrics.dead_lettered([make_dead_letter(), other, make_dead_letter()])
    assert value(metrics, "dlq_published_total", "store", "check_violation") == 2
    assert value(metrics, "dlq_published_total", "validate", "tombstone") == 1


def test_a_partition_is_paused_once_however_often_it_is_said() -> None:
    metrics = PrometheusMetrics()
    for partition in (0, 1, 0):
        metrics.paused("events", partition, make_failure(message="down"))
    assert value(metrics, "paused_partitions") == 2
    assert metrics.pauses == {("events", 0): "down", ("events", 1): "down"}
    metrics.resumed("events", 0)
    metrics.resumed("events", 0)
    assert value(metrics, "paused_partitions") == 1


def test_a_dlq_that_does_not_answer_is_counted() -> None:
    metrics = PrometheusMetrics()
    metrics.paused("events", 0, make_failure(reason="dlq_unavailable"))
    metrics.paused("events", 0, make_failure(reason="database_unreachable"))
    assert value(metrics, "dlq_publish_failures_total") == 1


def test_a_partition_that_moved_away_takes_its_series_along() -> None:
    metrics = busy()
    metrics.lag.labels("events", "0").set(5)
    metrics.partition_gone("events", 0)
    assert value(metrics, "consumer_lag_events", "events", "0") is None
    assert value(metrics, "last_processed_timestamp_seconds", "events", "0") is None
    assert metrics.pauses == {}


def test_a_partition_that_was_never_worked_can_move_away() -> None:
    PrometheusMetrics().partition_gone("events", 5)


def test_a_record_without_a_timestamp_has_no_end_to_end_time() -> None:
    metrics = PrometheusMetrics()
    metrics.batch_settled("events", 0, Tally(1), -1)
    assert value(metrics, "event_end_to_end_seconds_count", "events") is None


def test_the_pools_figures_are_read_at_each_scrape() -> None:
    metrics, stats = PrometheusMetrics(), {"pool_size": 1}
    metrics.watch_pool(lambda: stats)
    stats["pool_size"] = 7
    assert value(metrics, "db_pool_connections") == 7
    assert value(metrics, "db_pool_requests_waiting") == 0
