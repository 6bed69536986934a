"""Every metric, once: its name, its type, its labels, what it says, and what to do when it moves.

The exposition, docs/metrics.md, the dashboards' tests and the alerts' tests all read this one list. A label's values
come from a closed set: an event id, a key or an error text never becomes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from keepstream.schemas.failure import Step, Verdict
from keepstream.schemas.outcome import Outcome

PREFIX = "keepstream_"


class Kind(StrEnum):
    """Prometheus' types that we use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``name`` is without the prefix, and without ``_total``, which every counter gets."""

    name: str
    kind: Kind
    unit: str
    what: str
    then: str
    """What to do when it moves."""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def family(self) -> str:
        """The name as client libraries take it."""
        return PREFIX + self.name

    @property
    def series(self) -> str:
        """The name as it is queried; a histogram's has ``_bucket``, ``_sum`` and ``_count`` behind it."""
        return f"{self.family}_total" if self.kind is Kind.COUNTER else self.family

    @property
    def help(self) -> str:
        return f"{self.what} {self.then}"


class BatchOutcome(StrEnum):
    """What became of a batch that was begun."""

    SETTLED = "settled"
    ABANDONED = "abandoned"
    FENCED = "fenced"


LEVELS = ("warning", "error", "critical")
CONTRACT_REASONS = (
    "tombstone", "empty_value", "too_large", "too_deep", "invalid_utf8", "invalid_json", "lone_surrogate",
    "not_an_object", "missing_field", "invalid_field", "invalid_timestamp", "nul_character",
    "not_finite_number", "number_out_of_range", "contract_failed",
)  # fmt: skip
"""Why the contract refuses a record. Other reasons are PostgreSQL's condition names and the codes below."""
KNOWN_FAILURES = (
    (Step.STORE, Verdict.SYSTEMIC, "database_unreachable"), (Step.METRICS, Verdict.SYSTEMIC, "database_unreachable"),
    (Step.STORE, Verdict.SYSTEMIC, "dlq_unavailable"), (Step.STORE, Verdict.TRANSIENT, "connection_lost"),
    (Step.STORE, Verdict.TRANSIENT, "timeout"), (Step.METRICS, Verdict.TRANSIENT, "timeout"),
    (Step.STORE, Verdict.TRANSIENT, "raced"), (Step.STORE, Verdict.TRANSIENT, "deadlock_detected"),
)  # fmt: skip
"""(step, verdict, reason) that exist as zero from the start, so that a first failure is an increase."""
CLOSED: dict[str, tuple[str, ...]] = {
    "outcome": tuple(Outcome),
    "step": tuple(Step),
    "verdict": tuple(Verdict),
    "level": LEVELS,
}
"""Labels whose values are all known. ``topic`` and ``partition`` come from the settings and the assignment."""

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_STEP_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_END_TO_END_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_BATCH = (1, 5, 10, 25, 50, 75, 100, 250, 500)
_PLACE = ("topic", "partition")

# fmt: off
# What flows.
RECEIVED = Metric("events_received", _C, "events", "Records whose processing was begun.",
                  "Equals the sum of events_processed, events_abandoned and events_in_progress; if not, run "
                  "`keepstream audit`.", ("topic",))
PROCESSED = Metric("events_processed", _C, "events", "Records settled, by what became of them.",
                   "When dead_lettered rises, ask `keepstream dlq stats --since 1h`.", ("topic", "outcome"))
ABANDONED = Metric("events_abandoned", _C, "events", "Records given up unsettled because their partition moved.",
                   "Their next owner reads them again; when it keeps rising, look for what causes rebalances.",
                   ("topic",))
IN_PROGRESS = Metric("events_in_progress", _G, "events", "Records begun and not settled.",
                     "When it stays up while nothing settles, see paused_partitions and step_failures.", ("topic",))
BATCHES = Metric("batches", _C, "batches", "Batches by how they ended.",
                 "fenced or abandoned that keep rising mean that partitions move too often.", ("outcome",))
BATCH_EVENTS = Metric("batch_events", _H, "events", "Records per settled batch.",
                      "Full batches mean a backlog: see consumer_lag_events.", buckets=_BATCH)
STEP_DURATION = Metric("step_duration_seconds", _H, "seconds", "How long a step took for one batch, retries included.",
                       "When store slows down, look at PostgreSQL's commit latency and at locks.", ("step",), _STEP_S)
END_TO_END = Metric("event_end_to_end_seconds", _H, "seconds",
                    "Per event, from the Kafka timestamp of the oldest record of its batch to the commit in "
                    "PostgreSQL; replayed records are left out.",
                    "This is what users feel: see consumer_lag_events, then step_duration_seconds.", ("topic",),
                    _END_TO_END_S)
LAST_PROCESSED = Metric("last_processed_timestamp_seconds", _G, "seconds",
                        "When a batch of the partition was last settled.",
                        "When it stands still while consumer_lag_events is above 0, the partition is stalled.", _PLACE)
OLDEST_UNSETTLED = Metric("oldest_unsettled_timestamp_seconds", _G, "seconds",
                          "The Kafka timestamp of the oldest unsettled record in memory; now when there is none.",
                          "When it falls behind, see paused_partitions and `keepstream lag`.", _PLACE)
LAG = Metric("consumer_lag_events", _G, "events", "Records between the settled offset and the end of the partition.",
             "When it grows on all partitions add workers or find the slow step; on one, look for a hot key.", _PLACE)
ASSIGNED = Metric("assigned_partitions", _G, "partitions", "Partitions that this worker owns.",
                  "When 0 and others own none either, the group is rebalancing or Kafka is away.")
REBALANCES = Metric("rebalances", _C, "rebalances", "Times that partitions were started anew.",
                    "When it keeps rising, a worker restarts or misses its session timeout.")

# What goes wrong.
STEP_FAILURES = Metric("step_failures", _C, "attempts", "Attempts of a step that failed, by stable reason.",
                       "The verdict tells whose fault: systemic is the environment, record is the producer.",
                       ("step", "verdict", "reason"))
STEP_RETRIES = Metric("step_retries", _C, "attempts", "Failed attempts that were tried again.",
                      "When it keeps rising, step_failures names the reason.", ("step",))
PAUSED = Metric("paused_partitions", _G, "partitions", "Partitions held because the environment is ill.",
                "/readyz says why; nothing is lost, it resumes by itself once that is mended.")
FENCED = Metric("fenced_batches", _C, "batches", "Batches refused because the stored offset was not where they begin.",
                "The fence held; when it keeps rising, workers sleep through rebalances, or PostgreSQL loses commits.")
OFFSET_GAP = Metric("offset_gap_events", _C, "events", "Records that retention deleted and PostgreSQL does not hold.",
                    "They are lost to keepstream: lengthen retention, then see `keepstream audit`.", ("topic",))
COMMIT_FAILURES = Metric("offset_commit_failures", _C, "commits", "Commits of offsets to Kafka that failed.",
                         "Nothing is lost, PostgreSQL holds the truth; lag tools look behind until Kafka answers.")
LOG_RECORDS = Metric("log_records", _C, "lines", "Log lines of warning and above, by level.",
                     "Read the log around that time.", ("level",))

# Dead letters.
DLQ_PUBLISHED = Metric("dlq_published", _C, "events", "Dead letters confirmed by the broker.",
                       "Ask `keepstream dlq stats` for what died and why.", ("step", "reason"))
DLQ_PUBLISH_FAILURES = Metric("dlq_publish_failures", _C, "attempts", "Attempts to publish dead letters that failed.",
                              "The partition waits: run `keepstream doctor` and see that the topic takes writes.")
DLQ_PUBLISH_DURATION = Metric("dlq_publish_duration_seconds", _H, "seconds",
                              "How long the broker took to confirm a batch's dead letters.",
                              "When it rises, Kafka is slow: look at its under-replicated partitions.", buckets=_STEP_S)
DLQ_OPEN = Metric("dlq_open_events", _G, "events", "Dead letters that nobody has dealt with, from the ledger.",
                  "Mend the cause, then `keepstream dlq replay`; or `keepstream dlq purge`.")
DLQ_OLDEST = Metric("dlq_oldest_open_timestamp_seconds", _G, "seconds",
                    "When the oldest open dead letter last failed; 0 when there is none.",
                    "Deal with it before the topic's retention deletes it.")
DLQ_REPLAYS = Metric("dlq_replay_events", _G, "events", "Letters that all replays together dealt with.",
                     "When failed rises, `keepstream dlq stats` and the replay's own report say why.", ("outcome",))

# What is exact.
RECORDED = Metric("recorded_events", _C, "events",
                  "The exact totals of event_counters: they survive restarts, every worker shows the same ones.",
                  "Use max by (outcome), never sum over workers; `keepstream audit` proves them.", ("outcome",))
LEDGER_READ = Metric("ledger_read_timestamp_seconds", _G, "seconds",
                     "When recorded_events and the dlq gauges were last read from PostgreSQL.",
                     "When it stands still, those figures are old: PostgreSQL does not answer.")

# What is full.
POOL_CONNECTIONS = Metric("db_pool_connections", _G, "connections", "Connections to PostgreSQL.",
                          "When 0, PostgreSQL is away.")
POOL_AVAILABLE = Metric("db_pool_connections_available", _G, "connections", "Connections that nobody uses.",
                        "When 0 for long, raise KEEPSTREAM_POSTGRES__POOL_SIZE or find the slow statement.")
POOL_WAITING = Metric("db_pool_requests_waiting", _G, "batches", "Batches that wait for a connection.",
                      "When above 0 for long, the pool is too small or PostgreSQL is slow.")
POOL_REQUESTS = Metric("db_pool_requests", _C, "requests", "Connections asked of the pool.",
                       "The base for the two ratios below.")
POOL_WAIT = Metric("db_pool_wait_seconds", _C, "seconds", "Time that batches waited for a connection, added up.",
                   "When its rate nears 1 per partition, the pool is what limits.")
POOL_ERRORS = Metric("db_pool_request_errors", _C, "requests", "Requests that got no connection.",
                     "PostgreSQL is away or full: see step_failures.")
POOL_LOST = Metric("db_pool_connections_lost", _C, "connections", "Connections found broken.",
                   "PostgreSQL restarted, or something between closes connections.")
LOOP_LAG = Metric("event_loop_lag_seconds", _G, "seconds", "How late the event loop ran, at worst in the last 15 s.",
                  "Above 1 the worker is short of CPU: give it a core, or fewer partitions.")
BUFFERED = Metric("buffered_bytes", _G, "bytes", "What all partition queues hold in memory, overhead included.",
                  "Near KEEPSTREAM_WORKER__BUFFER_BYTES the store step is what limits.")
BUILD_INFO = Metric("build_info", _G, "", "1, with the versions.", "Tells which version a graph belongs to.",
                    ("version", "python", "faust"))

GROUPS: dict[str, tuple[Metric, ...]] = {
    "What flows": (RECEIVED, PROCESSED, ABANDONED, IN_PROGRESS, BATCHES, BATCH_EVENTS, STEP_DURATION, END_TO_END,
                   LAST_PROCESSED, OLDEST_UNSETTLED, LAG, ASSIGNED, REBALANCES),
    "What goes wrong": (STEP_FAILURES, STEP_RETRIES, PAUSED, FENCED, OFFSET_GAP, COMMIT_FAILURES, LOG_RECORDS),
    "Dead letters": (DLQ_PUBLISHED, DLQ_PUBLISH_FAILURES, DLQ_PUBLISH_DURATION, DLQ_OPEN, DLQ_OLDEST, DLQ_REPLAYS),
    "What is exact": (RECORDED, LEDGER_READ),
    "What is full": (POOL_CONNECTIONS, POOL_AVAILABLE, POOL_WAITING, POOL_REQUESTS, POOL_WAIT, POOL_ERRORS, POOL_LOST,
                     LOOP_LAG, BUFFERED, BUILD_INFO),
}
# fmt: on
CATALOGUE: tuple[Metric, ...] = tuple(metric for group in GROUPS.values() for metric in group)
