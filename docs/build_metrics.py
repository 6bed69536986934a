"""Write docs/metrics.md from the catalogue: ``python docs/build_metrics.py > docs/metrics.md``."""

from __future__ import annotations

from keepstream.sinks.prometheus.catalogue import CLOSED, CONTRACT_REASONS, GROUPS, Kind, Metric

_HEAD = """# Metrics

What `/metrics` returns, generated from `sinks/prometheus/catalogue.py` by `make docs`. Every series whose labels are
known exists from the start, as zero. Counters start at zero with each process and are for rates;
`keepstream_recorded_events_total` is exact and comes from PostgreSQL. The figures of the process and of the interpreter
(`process_*`, `python_*`) are the Python client library's own.
"""
_LABEL_HEAD = "\n## Labels\n\n| Label | Values |\n| --- | --- |"
_OUTCOMES = (
    "of an event: {outcome}; of a batch: `settled`, `abandoned`, `fenced`; "
    "of a replayed dead letter: `replayed`, `skipped`, `failed`"
)
_REASONS = (
    "the contract's: {reasons}; otherwise PostgreSQL's condition name, like `check_violation`, or one of keepstream's "
    "own: `database_unreachable`, `connection_lost`, `dlq_unavailable`, `unreadable_batch`, `timeout`, `raced`, "
    "`row_suppressed`"
)
_LABELS = {
    "`topic`, `partition`": "the consumed topics of the settings, and the partitions of theirs that this worker owns",
    "`outcome`": _OUTCOMES,
    "`step`": "{step}",
    "`verdict`": "{verdict}",
    "`reason`": _REASONS,
    "`level`": "{level}",
    "`version`, `python`, `faust`": "versions",
}


def render() -> str:
    """Return the whole page."""
    parts = [_HEAD]
    for title, metrics in GROUPS.items():
        parts += [
            f"\n## {title}\n",
            "| Metric | Type | Labels | Meaning, and what to do |",
            "| --- | --- | --- | --- |",
        ]
        parts += [_row(metric) for metric in metrics]
    known = {"reasons": CONTRACT_REASONS, **CLOSED}
    values = {name: _list(found) for name, found in known.items()}
    parts += [_LABEL_HEAD, *(f"| {label} | {text.format(**values)} |" for label, text in _LABELS.items())]
    return "\n".join(parts) + "\n"


def _row(metric: Metric) -> str:
    kind = f"{metric.kind}, {metric.unit}" if metric.unit else str(metric.kind)
    if metric.kind is Kind.HISTOGRAM:
        kind += f" (buckets {', '.join(f'{bound:g}' for bound in metric.buckets)})"
    return f"| `{metric.series}` | {kind} | {_list(metric.labels)} | {metric.help.replace('|', chr(92) + '|')} |"


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    print(render(), end="")
