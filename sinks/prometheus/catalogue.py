"""The catalogue of metrics: name, type, labels, description, and the action when a value changes.

The exposition, docs/metrics.md, and the tests of dashboards and alerts read this one list. The values of a label come
from a closed set: an event id, a key or an error text is never one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from keepstream.schemas.failure import Step, Verdict
from keepstream.schemas.outcome import Outcome

PREFIX = "keepstream_"


class Kind(StrEnum):
    """Prometheus metric type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``name`` is without the prefix, and without ``_total``, which every counter gets."""

    name: str
    kind: Kind
    unit: str
    description: str
    action: str
    """What to do when the value changes."""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def family(self) -> str:
        """The metric name for the client library."""
        return PREFIX + self.name

    @property
    def series(self) -> str:
        """The name in queries; the series of a histogram add ``_bucket``, ``_sum`` and ``_count``."""
        return f"{self.family}_total" if self.kind is Kind.COUNTER else self.family

    @property
    def help(self) -> str:
        return f"{self.description} {self.action}"


class BatchOutcome(StrEnum):
    """Outcome of a started batch."""

    SETTLED = "settled"
    ABANDONED = "abandoned"
    FENCED = "fenced"


LEVELS = ("warning", "error", "critical")
CONTRACT_REASONS = (
    "tombstone", "empty_value", "too_large", "too_deep", "invalid_utf8", "invalid_json", "lone_surrogate",
    "not_an_object", "missing_field", "invalid_field", "invalid_timestamp", "nul_character",
    "not_finite_number", "number_out_of_range", "contract_failed", "decode_failed", "several_events",
)  # fmt: skip
"""Reasons of the contract. Others are PostgreSQL's condition names and the codes below."""
KNOWN_FAILURES = (
    (Step.STORE, Verdict.SYSTEMIC, "database_unreachable"), (Step.METRICS, Verdict.SYSTEMIC, "database_unreachable"),
    (Step.STORE, Verdict.SYSTEMIC, "dlq_unavailable"), (Step.STORE, Verdict.TRANSIENT, "connection_lost"),
    (Step.STORE, Verdict.TRANSIENT, "timeout"), (Step.METRICS, Verdict.TRANSIENT, "timeout"),
    (Step.STORE, Verdict.TRANSIENT, "raced"), (Step.STORE, Verdict.TRANSIENT, "deadlock_detected"),
)  # fmt: skip
"""(step, verdict, reason) of series that start at zero, so that a first failure is an increase."""
CLOSED: dict[str, tuple[str, ...]] = {
    "outcome": tuple(Outcome),
    "step": tuple(Step),
    "verdict": tuple(Verdict),
    "level": LEVELS,
}
"""Label values known in advance. ``topic`` comes from the settings, ``partition`` from the assignment."""

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_STEP_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_END_TO_END_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_BATCH = (1, 5, 10, 25, 50, 75, 100, 250, 500)
_PARTITION = ("topic", "partition")

# fmt: off
# Throughput.
RECEIVED = Metric("events_received", _C, "events", "Records whose processing started.",
                  "Equals the sum of events_processed, events_abandoned and events_in_progress; if not, run "
                  "`keepstream audit`.", ("topic",))
PROCESSED = Metric("events_processed", _C, "events", "Settled records, by outcome.",
                   "When dead_lettered rises, run `keepstream dlq stats --since 1h`.", ("topic", "outcome"))
ABANDONED = Metric("events_abandoned", _C, "events", "Records dropped unsettled because their partition was revoked.",
                   "The next owner reads them again; when it keeps rising, find the cause of the rebalances.",
                   ("topic",))
IN_PROGRESS = Metric("events_in_progress", _G, "events", "Records in processing, not settled yet.",
                     "When it stays up while nothing settles, see paused_partitions and step_failures.", ("topic",))
BATCHES = Metric("batches", _C, "batches", "Finished batches, by outcome.",
                 "When fenced or abandoned keep rising, partitions are reassigned too often.", ("outcome",))
BATCH_EVENTS = Metric("batch_events", _H, "events", "Records per settled batch.",
                      "Full batches mean a backlog: see consumer_lag_events.", buckets=_BATCH)
STEP_DURATION = Metric("step_duration_seconds", _H, "seconds", "Duration of a step for one batch, retries included.",
                       "When store slows down, look at PostgreSQL's commit latency and at locks.", ("topic", "step"),
                       _STEP_S)
END_TO_END = Metric("event_end_to_end_seconds", _H, "seconds",
                    "Latency per event, from the Kafka timestamp of the oldest record of its batch to the commit in "
                    "PostgreSQL, without replayed records.",
                    "When it rises, see consumer_lag_events, then step_duration_seconds.", ("topic",),
                    _END_TO_END_S)
LAST_PROCESSED = Metric("last_processed_timestamp_seconds", _G, "seconds",
                        "Time at which a batch of the partition was last settled.",
                        "When it does not change while consumer_lag_events is above 0, the partition is stalled.",
                        _PARTITION)
OLDEST_UNSETTLED = Metric("oldest_unsettled_timestamp_seconds", _G, "seconds",
                          "Kafka timestamp of the oldest unsettled record in memory; the current time without one.",
                          "When it falls behind, see paused_partitions and `keepstream lag`.", _PARTITION)
LAG = Metric("consumer_lag_events", _G, "events", "Records between the settled offset and the end of the partition.",
             "When it grows on all partitions add workers or find the slow step; on one, look for a hot key.",
             _PARTITION)
ASSIGNED = Metric("assigned_partitions", _G, "partitions", "Partitions assigned to this worker.",
                  "When 0 on all workers, the group is rebalancing or Kafka is unreachable.")
REBALANCES = Metric("rebalances", _C, "rebalances", "Assignments of partitions to this worker.",
                    "When it keeps rising, a worker restarts or misses its session timeout.")

# Failures.
STEP_FAILURES = Metric("step_failures", _C, "attempts", "Failed attempts of a step, by stable reason.",
                       "The verdict names the cause: systemic is the environment, record is the producer.",
                       ("topic", "step", "verdict", "reason"))
STEP_RETRIES = Metric("step_retries", _C, "attempts", "Failed attempts that were retried.",
                      "When it keeps rising, step_failures names the reason.", ("topic", "step"))
PAUSED = Metric("paused_partitions", _G, "partitions",
                "Partitions paused by a systemic failure, or not started because of one.",
                "/readyz gives the reason; nothing is lost, and processing resumes by itself.", ("topic",))
FENCED = Metric("fenced_batches", _C, "batches", "Batches refused because the stored offset was not their first.",
                "Nothing is counted twice; if it keeps rising, workers miss rebalances, or PostgreSQL loses commits.",
                ("topic",))
OFFSET_GAP = Metric("offset_gap_events", _C, "events", "Records that retention deleted before they were settled.",
                    "They are lost to keepstream: lengthen the retention, then run `keepstream audit`.", ("topic",))
COMMIT_FAILURES = Metric("offset_commit_failures", _C, "commits", "Failed commits of offsets to Kafka.",
                         "Nothing is lost: PostgreSQL has the offsets. Lag tools show old values until Kafka answers.")
LOG_RECORDS = Metric("log_records", _C, "lines", "Log lines at warning and above, by level.",
                     "Read the log of that time.", ("level",))

# Dead letters.
DLQ_PUBLISHED = Metric("dlq_published", _C, "events", "Dead letters confirmed by the broker.",
                       "Run `keepstream dlq stats` for steps and reasons.", ("topic", "step", "reason"))
DLQ_PUBLISH_FAILURES = Metric("dlq_publish_failures", _C, "attempts", "Failed attempts to publish dead letters.",
                              "The partition is paused: run `keepstream doctor`; check that the dead letter topic "
                              "takes writes.",
                              ("topic",))
DLQ_PUBLISH_DURATION = Metric("dlq_publish_duration_seconds", _H, "seconds",
                              "Time until the broker confirmed the dead letters of a batch.",
                              "When it rises, Kafka is slow: check for under-replicated partitions.", buckets=_STEP_S)
DLQ_OPEN = Metric("dlq_open_events", _G, "events", "Unresolved dead letters, from the table dead_letters.",
                  "Fix the cause, then run `keepstream dlq replay`, or `keepstream dlq purge`.", ("topic",))
DLQ_OLDEST = Metric("dlq_oldest_open_timestamp_seconds", _G, "seconds",
                    "Time of the last failure of the oldest open dead letter; 0 without one.",
                    "Resolve it before the topic's retention deletes it.", ("topic",))
DLQ_REPLAYS = Metric("dlq_replay_events", _G, "events", "Dead letters of all replays, by outcome.",
                     "When failed rises, see `keepstream dlq stats` and the replay's report.", ("topic", "outcome"))

# Exact totals.
RECORDED = Metric("recorded_events", _C, "events",
                  "Exact totals from event_counters: they survive restarts and are the same on every worker.",
                  "Use max by (topic, outcome), never a sum over workers; `keepstream audit` verifies them.",
                  ("topic", "outcome"))
LEDGER_READ = Metric("ledger_read_timestamp_seconds", _G, "seconds",
                     "Time at which recorded_events and the dlq gauges were last read from PostgreSQL.",
                     "When it does not change, those values are old: PostgreSQL does not answer.", ("topic",))

# Resources.
POOL_CONNECTIONS = Metric("db_pool_connections", _G, "connections", "Connections to PostgreSQL.",
                          "When 0, PostgreSQL is unreachable.", ("topic",))
POOL_AVAILABLE = Metric("db_pool_connections_available", _G, "connections", "Idle connections.",
                        "When 0 for long, raise KEEPSTREAM_POSTGRES__POOL_SIZE or find the slow statement.", ("topic",))
POOL_WAITING = Metric("db_pool_requests_waiting", _G, "batches", "Batches waiting for a connection.",
                      "When above 0 for long, the pool is too small or PostgreSQL is slow.", ("topic",))
POOL_REQUESTS = Metric("db_pool_requests", _C, "requests", "Requests for a connection of the pool.",
                       "Denominator of ratios with the two metrics below.", ("topic",))
POOL_WAIT = Metric("db_pool_wait_seconds", _C, "seconds", "Total time that batches waited for a connection.",
                   "When its rate nears 1 per partition, the pool is the bottleneck.", ("topic",))
POOL_ERRORS = Metric("db_pool_request_errors", _C, "requests", "Requests that failed to get a connection.",
                     "PostgreSQL is unreachable or has no free connection: see step_failures.", ("topic",))
POOL_LOST = Metric("db_pool_connections_lost", _C, "connections", "Connections found broken.",
                   "PostgreSQL restarted, or a proxy or firewall closes connections.", ("topic",))
LOOP_LAG = Metric("event_loop_lag_seconds", _G, "seconds", "Maximum delay of the event loop in the last 15 s.",
                  "Above 1 the worker is short of CPU: give it a core, or fewer partitions.")
BUFFERED = Metric("buffered_bytes", _G, "bytes", "Memory of all partition queues, with the overhead of records.",
                  "Near KEEPSTREAM_WORKER__BUFFER_BYTES the store step is the bottleneck.")
BUILD_INFO = Metric("build_info", _G, "", "Constant 1, with versions as labels.", "Shows the version behind a graph.",
                    ("version", "python", "faust"))

GROUPS: dict[str, tuple[Metric, ...]] = {
    "Throughput": (RECEIVED, PROCESSED, ABANDONED, IN_PROGRESS, BATCHES, BATCH_EVENTS, STEP_DURATION, END_TO_END,
                   LAST_PROCESSED, OLDEST_UNSETTLED, LAG, ASSIGNED, REBALANCES),
    "Failures": (STEP_FAILURES, STEP_RETRIES, PAUSED, FENCED, OFFSET_GAP, COMMIT_FAILURES, LOG_RECORDS),
    "Dead letters": (DLQ_PUBLISHED, DLQ_PUBLISH_FAILURES, DLQ_PUBLISH_DURATION, DLQ_OPEN, DLQ_OLDEST, DLQ_REPLAYS),
    "Exact totals": (RECORDED, LEDGER_READ),
    "Resources": (POOL_CONNECTIONS, POOL_AVAILABLE, POOL_WAITING, POOL_REQUESTS, POOL_WAIT, POOL_ERRORS, POOL_LOST,
                     LOOP_LAG, BUFFERED, BUILD_INFO),
}
# fmt: on
CATALOGUE: tuple[Metric, ...] = tuple(metric for group in GROUPS.values() for metric in group)
