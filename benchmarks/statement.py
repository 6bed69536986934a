"""Write the figures that pages state, from the results: ``python -m benchmarks.statement`` (`make figures`).

A page holds the text between two comments, so that README and docs show one figure, that of ``results/*.json``.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.contestant import HERE, ROOT
from benchmarks.figures import Figure, chosen, load, spread
from benchmarks.roster import BEST_ROWS

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
ROWS = (100, BEST_ROWS)
SIZE_BYTES = 360
NAMES = {
    "keepstream": "keepstream",
    "flink": "Flink SQL",
    "connect": "Kafka Connect with Debezium's JDBC sink",
    "hand": "a hand-written `executemany` loop",
    "fast-stream": "FastStream",
    "quix": "Quix Streams",
    "plain-faust": "plain Faust",
}
"""What does the same work; each is compared at one limit of rows per commit."""
BLOCK = re.compile(r"(<!-- figures: make figures -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def statement(results: Path) -> str:
    """Return a table of throughput, one contestant a line, with what it was measured on."""
    left = load(results, "throughput") or {"figures": [], "events": 0, "runs": 0, "machine": {}}
    rates = {name: [rate_of(left["figures"], name, rows) for rows in ROWS] for name in NAMES}
    known = {name: row for name, row in rates.items() if any(row)}
    if len(known) < 2:
        return ""
    lines = [row_of(NAMES[name], row) for name, row in sorted(known.items(), key=lambda item: -max(item[1]))]
    sizes = f"up to {ROWS[0]} rows per commit | {ROWS[1]:,}"
    head = f"| events/s, of {left['events']:,} events of {SIZE_BYTES} bytes | {sizes} |"
    return "\n".join([head, "| --- | --- | --- |", *lines, "", about(left)]) + "\n"


def row_of(label: str, rates: list[float]) -> str:
    return f"| {label} | {' | '.join(f'{rate:,.0f}' if rate else '-' for rate in rates)} |"


def rate_of(figures: list[Figure], name: str, rows: int) -> float:
    """Return the median, 0 where it was not measured. keepstream's default is the larger limit."""
    contestant = "keepstream" if (name, rows) == ("keepstream", BEST_ROWS) else f"{name}-{rows}"
    runs = chosen(figures, contestant=contestant, size_bytes=SIZE_BYTES)
    found = spread(run["events_per_s"] for run in runs if run.get("synchronous_commit", True))
    return found.middle if found else 0.0


def about(left: Figure) -> str:
    """Say on what it was measured."""
    cores = left["machine"].get("CPU", "?").partition(",")[0]
    durable = all(run.get("synchronous_commit", False) for run in left["figures"][:1])
    commits = "waits for the disk" if durable else "does not wait for the disk"
    return f"Medians on {cores}, which broker and database share; each commit {commits}, for all."


def filled(page: str, text: str) -> str:
    return BLOCK.sub(lambda found: found[1] + text + found[2], page)


def main() -> None:
    """Write every page anew that holds figures."""
    text = statement(HERE / "results")
    for path in PAGES:
        path.write_text(filled(path.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main()
