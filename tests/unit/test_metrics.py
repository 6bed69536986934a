"""What a scrape returns."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from keepstream.processors.validation import validate
from keepstream.schemas.failure import Step, Verdict
from keepstream.schemas.outcome import Outcome, OutcomeCounts, Totals
from keepstream.sinks.prometheus.catalogue import CATALOGUE, CONTRACT_REASONS, BatchOutcome, Metric
from keepstream.sinks.prometheus.metrics import PrometheusMetrics
from tests.builders import make_dead_letter, make_failure, make_record

COUNTS = st.integers(0, 1000)
TALLY = st.builds(OutcomeCounts, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
BOUNDED_LABELS = {
    "topic",
    "partition",
    "outcome",
    "step",
    "verdict",
    "reason",
    "level",
    "version",
    "python",
    "faust",
    "le",
}
SYSTEM_LABELS = {"implementation", "major", "minor", "patchlevel"}


def scrape(metrics: PrometheusMetrics) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    samples = [sample for family in families for sample in family.samples]
    return {(s.name, tuple(sorted(s.labels.values()))): s.value for s in samples}


def value(metrics: PrometheusMetrics, name: str, *labels: str) -> float | None:
    return scrape(metrics).get((f"keepstream_{name}", tuple(sorted(labels))))


def settle(metrics: PrometheusMetrics, tally: OutcomeCounts, timestamp_ms: int = 1) -> None:
    metrics.batch_started("events", tally.total)
    metrics.batch_settled("events", 0, tally, timestamp_ms)
    metrics.batch_ended("events", tally.total, BatchOutcome.SETTLED)


def busy() -> PrometheusMetrics:
    """Everything happened once."""
    metrics = PrometheusMetrics(["events"])
    metrics.watch_pool("events", lambda: {"pool_size": 4})
    settle(metrics, OutcomeCounts(1, 1, 1, 1, 1))
    metrics.publish_took(0.1)
    metrics.ledger_read("events", Totals(dict.fromkeys(Outcome, 1), 1, datetime.now(UTC), {"replayed": 1}))
    metrics.set_build_info("1", "2")
    for gauge in (metrics.lag, metrics.oldest_unsettled):
        gauge.labels("events", "0").set(1)
    metrics.step_timer("events")(Step.STORE, 0.1)
    metrics.attempt_failed("events", make_failure(), retried=True)
    metrics.dead_lettered([make_dead_letter()])
    metrics.attempt_failed("events", make_failure(verdict=Verdict.SYSTEMIC, reason="dlq_unavailable"), retried=True)
    metrics.fences.labels("events").inc()
    return metrics


@given(st.lists(st.tuples(st.sampled_from(BatchOutcome), TALLY), max_size=8), COUNTS)
def test_the_outcomes_add_up_to_what_was_received(
    batches: list[tuple[BatchOutcome, OutcomeCounts]], in_flight: int
) -> None:
    metrics = PrometheusMetrics(["events"])
    for given_to, tally in batches:
        metrics.batch_started("events", tally.total)
        if given_to is BatchOutcome.SETTLED:
            metrics.batch_settled("events", 0, tally, 1)
        metrics.batch_ended("events", tally.total, given_to)
    metrics.batch_started("events", in_flight)
    samples = scrape(metrics)
    outcomes = [v for (name, _), v in samples.items() if name == "keepstream_events_processed_total"]
    assert sum(outcomes) == sum(tally.total for given_to, tally in batches if given_to is BatchOutcome.SETTLED)
    assert samples["keepstream_events_in_progress", ("events",)] == in_flight
    assert samples["keepstream_events_received_total", ("events",)] == (
        sum(outcomes) + samples["keepstream_events_abandoned_total", ("events",)] + in_flight
    )


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_every_metric_of_the_catalogue_is_exposed_with_its_type_labels_and_help(metric: Metric) -> None:
    family = next(f for f in text_string_to_metric_families(busy().render().decode()) if f.name == metric.family)
    assert (family.type, family.documentation) == (metric.kind, metric.help)
    assert family.samples
    assert {label for sample in family.samples for label in sample.labels} - {"le"} == set(metric.labels)


def test_nothing_is_exposed_that_is_not_in_the_catalogue() -> None:
    families = {family.name for family in text_string_to_metric_families(busy().render().decode())}
    ours = {name for name in families if not name.startswith(("process_", "python_"))}
    assert ours == {metric.family for metric in CATALOGUE}


def test_every_help_says_what_to_do() -> None:
    for metric in CATALOGUE:
        assert metric.description.endswith("."), metric.name
        assert metric.action.endswith("."), metric.name


def test_a_metric_carries_its_unit_in_its_name_where_prometheus_asks_for_it() -> None:
    for metric in CATALOGUE:
        if metric.unit in {"seconds", "bytes"}:
            assert metric.name.endswith(metric.unit), metric.name


def test_every_reason_of_the_contract_is_in_the_catalogue() -> None:
    """Every reason that a source file of `processors` writes down is in the catalogue, and the other way round."""
    layer = Path(validate.__file__).parents[1]
    text = "".join(path.read_text(encoding="utf-8") for path in layer.glob("[mv]*/*.py"))
    written = re.findall(
        r'(?:Rejection|UnmappedError)\(\s*"(\w+)"|return "(\w+)", |reason = "(\w+)" if .* else "(\w+)"', text
    )
    assert {reason for found in written for reason in found if reason} == set(CONTRACT_REASONS)


def test_a_batch_counts_with_all_its_events_in_the_end_to_end_time() -> None:
    metrics = PrometheusMetrics(["events"])
    settle(metrics, OutcomeCounts(delivered=90), int(time.time() * 1000))
    settle(metrics, OutcomeCounts(delivered=10), int(time.time() * 1000) - 20_000)
    assert value(metrics, "event_end_to_end_seconds_bucket", "events", "1.0") == 90
    assert value(metrics, "event_end_to_end_seconds_bucket", "events", "30.0") == 100
    assert value(metrics, "event_end_to_end_seconds_count", "events") == 100


def test_exact_totals_are_absent_before_the_first_reading() -> None:
    metrics = PrometheusMetrics(["events"])
    assert value(metrics, "recorded_events_total", "events", "delivered") is None
    metrics.ledger_read("events", Totals({"delivered": 7}, 2, datetime.fromtimestamp(5, UTC), {"replayed": 3}))
    assert value(metrics, "recorded_events_total", "events", "delivered") == 7
    assert value(metrics, "dlq_open_events", "events") == 2
    assert value(metrics, "dlq_oldest_open_timestamp_seconds", "events") == 5
    assert value(metrics, "dlq_replay_events", "events", "replayed") == 3


def test_exact_totals_of_two_topics_are_two_series() -> None:
    metrics = PrometheusMetrics(["events", "orders"])
    metrics.ledger_read("events", Totals({"delivered": 7}, 2, None, {"replayed": 3}))
    assert value(metrics, "recorded_events_total", "orders", "delivered") is None
    metrics.ledger_read("orders", Totals({"delivered": 1}, 0, None, {"replayed": 5}))
    assert value(metrics, "recorded_events_total", "events", "delivered") == 7
    assert value(metrics, "recorded_events_total", "orders", "delivered") == 1
    assert value(metrics, "dlq_open_events", "orders") == 0
    assert value(metrics, "dlq_replay_events", "orders", "replayed") == 5


@pytest.mark.parametrize("outcome", ["delivered", "duplicate", "stale", "dead_lettered"])
def test_every_outcome_starts_at_zero(outcome: str) -> None:
    metrics = PrometheusMetrics(["events"])
    assert value(metrics, "events_processed_total", "events", outcome) == 0
    assert value(metrics, "events_received_total", "events") == 0


@pytest.mark.parametrize("name", ["rebalances_total", "offset_commit_failures_total"])
def test_series_of_alerts_start_at_zero(name: str) -> None:
    assert value(PrometheusMetrics(), name) == 0


@pytest.mark.parametrize("topic", ["events", "orders"])
@pytest.mark.parametrize(
    ("name", "labels"),
    [("fenced_batches_total", []), ("dlq_publish_failures_total", []), ("paused_partitions", []),
     ("dlq_published_total", ["validate", "tombstone"]),
     ("step_failures_total", ["store", "systemic", "database_unreachable"]),
     *(("step_retries_total", [step.value]) for step in Step)],
)  # fmt: skip
def test_series_of_alerts_start_at_zero_for_every_topic(name: str, labels: list[str], topic: str) -> None:
    assert value(PrometheusMetrics(iter(["events", "orders"])), name, topic, *labels) == 0


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
    metrics.attempt_failed("events", failure, retried=False)
    metrics.dead_lettered([make_dead_letter(failure=failure, event_id="s3cret", correlation_id="s3cret")])
    assert b"s3cret" not in metrics.render()


def test_a_failure_counts_once_and_as_a_retry_only_when_it_is_retried() -> None:
    metrics = PrometheusMetrics(["events", "orders"])
    metrics.attempt_failed("events", make_failure(), retried=True)
    metrics.attempt_failed("events", make_failure(), retried=False)
    assert value(metrics, "step_failures_total", "events", "store", "record", "check_violation") == 2
    assert value(metrics, "step_retries_total", "events", "store") == 1
    assert value(metrics, "step_failures_total", "orders", "store", "record", "check_violation") is None
    assert value(metrics, "step_retries_total", "orders", "store") == 0


def test_dead_letters_are_counted_by_topic_step_and_reason() -> None:
    metrics = PrometheusMetrics(["events", "orders"])
    other = make_dead_letter(failure=make_failure(step=Step.VALIDATE, reason="tombstone"))
    metrics.dead_lettered([make_dead_letter(), other, make_dead_letter()])
    metrics.dead_lettered([make_dead_letter(make_record(topic="orders"))])
    assert value(metrics, "dlq_published_total", "events", "store", "check_violation") == 2
    assert value(metrics, "dlq_published_total", "events", "validate", "tombstone") == 1
    assert value(metrics, "dlq_published_total", "orders", "store", "check_violation") == 1
    assert value(metrics, "dlq_published_total", "orders", "validate", "tombstone") == 0


def test_the_durations_of_a_step_are_those_of_its_topic() -> None:
    metrics = PrometheusMetrics(["events", "orders"])
    metrics.step_timer("events")(Step.STORE, 0.2)
    assert value(metrics, "step_duration_seconds_sum", "events", "store") == 0.2
    assert value(metrics, "step_duration_seconds_count", "events", "validate") == 0
    assert value(metrics, "step_duration_seconds_count", "orders", "store") == 0


def test_a_dlq_that_does_not_answer_is_counted() -> None:
    metrics = PrometheusMetrics(["events", "orders"])
    metrics.attempt_failed("events", make_failure(reason="dlq_unavailable"), retried=True)
    metrics.attempt_failed("events", make_failure(reason="database_unreachable"), retried=True)
    assert value(metrics, "dlq_publish_failures_total", "events") == 1
    assert value(metrics, "dlq_publish_failures_total", "orders") == 0


def test_the_series_of_a_revoked_partition_are_removed() -> None:
    metrics = busy()
    metrics.lag.labels("events", "0").set(5)
    metrics.partition_gone("events", 0)
    assert value(metrics, "consumer_lag_events", "events", "0") is None
    assert value(metrics, "last_processed_timestamp_seconds", "events", "0") is None


def test_a_partition_without_series_can_be_revoked() -> None:
    PrometheusMetrics().partition_gone("events", 5)


def test_a_record_without_a_timestamp_has_no_end_to_end_time() -> None:
    metrics = PrometheusMetrics(["events"])
    settle(metrics, OutcomeCounts(1), -1)
    assert value(metrics, "event_end_to_end_seconds_count", "events") == 0


def test_the_pools_figures_are_read_at_each_scrape() -> None:
    metrics, stats = PrometheusMetrics(), {"pool_size": 1}
    metrics.watch_pool("events", lambda: stats)
    metrics.watch_pool("orders", lambda: {"pool_size": 2, "requests_waiting": 3})
    stats["pool_size"] = 7
    assert value(metrics, "db_pool_connections", "events") == 7
    assert value(metrics, "db_pool_requests_waiting", "events") == 0
    assert value(metrics, "db_pool_connections", "orders") == 2
    assert value(metrics, "db_pool_requests_waiting", "orders") == 3
