"""The tables in Markdown: ``results/README.md`` from all JSON files beside it, and to the terminal.

``python -m benchmarks.report [FOLDER]`` writes them anew without measuring.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import statement
from benchmarks.contestant import HERE, ROOT
from benchmarks.figures import Figure, chosen, grouped, load, ratio, spread
from benchmarks.goals import GOALS, OURS
from benchmarks.roster import ALL

PLOT_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
LABELS = {contestant.name: contestant.label for contestant in ALL}
RUN_COLUMNS = ("worker_cpu_us", "postgres_cpu_us", "broker_cpu_us", "worker_rss_mb", "postgres_pss_mb", "broker_rss_mb")
LATENCIES = ("p50_ms", "p99_ms", "p999_ms", "producer_late_ms")


def write(results: Path) -> None:
    """Write tables and pictures, and print the tables."""
    text = "\n".join(lines(results)) + "\n"
    (results / "README.md").write_text(text, encoding="utf-8")
    if results == HERE / "results":
        statement.main()
    print(text)
    if PLOT_PYTHON.is_file():
        subprocess.run([str(PLOT_PYTHON), str(HERE / "plot.py"), str(results)], check=True)
    else:
        print(f"no pictures: {PLOT_PYTHON.relative_to(ROOT)} is missing", file=sys.stderr)


def lines(results: Path) -> Iterator[str]:
    yield "# Results"
    yield ""
    yield "Written by `make bench`. Medians [least-most]. How and what it means: docs/performance.md."
    yield from table("Goals", ("goal", "wanted", "measured", "verdict"), (goal.row(results) for goal in GOALS))
    parts = {"throughput": throughput, "latency": latency, "curves": curves, "start": start}
    for name, part in parts.items():
        if left := load(results, name):
            yield from part(left["figures"])
            yield from about(name, left)


def table(title: str, heads: tuple[str, ...], rows: Iterable[str]) -> Iterator[str]:
    yield from ("", f"## {title}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|")
    yield from rows


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def throughput(figures: list[Figure]) -> Iterator[str]:
    heads = ("contestant", "events/s", "second half", "keepstream's rate against it", "of second halves", "wall s",
             *columns(), "rows per commit, median / most")  # fmt: skip
    for (size, waits), together in grouped(figures, "size_bytes", "synchronous_commit").items():
        ours = chosen(together, contestant=OURS)
        rows = (
            row(LABELS.get(name, name), *cells(runs, "events_per_s", "second_half_per_s"), against(ours, runs),
                against(ours, runs, "second_half_per_s"), *cells(runs, "wall_s", *RUN_COLUMNS, digits=1), commits(runs))
            for (name,), runs in grouped(together, "contestant").items()
        )  # fmt: skip
        how = "each commit waits for the disk" if waits else "no commit waits for the disk"
        yield from table(f"A backlog of events of {size:,} bytes, {how}", heads, rows)


def columns() -> Iterator[str]:
    for name in RUN_COLUMNS:
        who, what, unit = name.split("_")
        yield f"{who} {what} {'µs/event' if unit == 'us' else 'MB'}"


def commits(runs: list[Figure]) -> str:
    return f"{runs[0]['rows_per_commit']} / {max(run['most_rows_per_commit'] for run in runs)}"


def cells(runs: list[Figure], *names: str, digits: int = 0) -> Iterator[str]:
    for name in names:
        found = spread(run[name] for run in runs)
        yield found.text(digits) if found else "-"


def against(runs: list[Figure], others: list[Figure], field: str = "events_per_s") -> str:
    found = ratio(runs, others, field)
    return found.text(2) if found else "-"


def latency(figures: list[Figure]) -> Iterator[str]:
    open_loop = [figure for figure in figures if "share" in figure]
    rows = (
        row(LABELS[name], "pinned" if is_pinned else "shared", f"{share:.0%}", f"{runs[0]['rate_per_s']:,}",
            *cells(runs, *LATENCIES, digits=1))
        for (name, is_pinned, share), runs in grouped(open_loop, "contestant", "pinned", "share").items()
    )  # fmt: skip
    heads = ("contestant", "cores", "of the maximum", "events/s", "p50 ms", "p99 ms", "p99.9 ms",
             "producer late at worst, ms")  # fmt: skip
    yield from table("From produce to commit, open loop", heads, rows)


def curves(figures: list[Figure]) -> Iterator[str]:
    for (curve,), of_curve in grouped(figures, "curve").items():
        rows = (
            row(f"{x:,}", *cells(runs, "events_per_s"), *cells(runs, *RUN_COLUMNS, digits=1))
            for (x,), runs in grouped(of_curve, "x").items()
        )
        yield from table(f"Against {curve}", (curve, "events/s", *columns()), rows)


def start(figures: list[Figure]) -> Iterator[str]:
    rows = (row(what, *cells(runs, "s", digits=2)) for (what,), runs in grouped(figures, "what").items())
    yield from table("Start", ("what", "s"), rows)


def about(name: str, left: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield f"{name}: {left['events']:,} events, at most {left['runs']} runs each; " + "; ".join(
        f"{what}: {said}" for what, said in left["machine"].items()
    )
    for who, why in left["missing"].items():
        yield f"- {LABELS.get(who, who)} is missing: {why}"


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results")
