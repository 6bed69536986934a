"""Pictures of the results. Runs in ``.venv-bench``, which has matplotlib and nothing of keepstream: `make bench`."""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

OURS, OTHERS = "#1f6f8b", "#b0b7bd"
HEADLINE_BYTES = 360
CURVES_PER_ROW = 4


def load(results: Path, name: str) -> list[dict[str, Any]]:
    path = results / f"{name}.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["figures"]) if path.is_file() else []


def by(figures: list[dict[str, Any]], key: str, value: str) -> dict[Any, list[float]]:
    found: dict[Any, list[float]] = defaultdict(list)
    for figure in figures:
        found[figure[key]].append(figure[value])
    return found


def throughput(results: Path) -> None:
    """Draw each product at 100 rows per commit and at its best, once with durable commits and once without."""
    figures = [figure for figure in load(results, "throughput") if figure["size_bytes"] == HEADLINE_BYTES]
    if not figures:
        return
    _, axes = plt.subplots(1, 2, figsize=(14, 5), squeeze=False, sharex=True)
    for axis, waits in zip(axes[0], (True, False), strict=True):
        rates = by([f for f in figures if f["synchronous_commit"] is waits], "contestant", "events_per_s")
        bars(axis, {name: values for name, values in rates.items() if "-python-" not in name})
        title = "each commit waits for the disk" if waits else "no commit waits for the disk"
        axis.set(title=f"events of {HEADLINE_BYTES} bytes, {title}", xlabel="events/s")
    save(results / "throughput.png")


def bars(axis: Any, rates: dict[str, list[float]]) -> None:
    """Draw a pair of bars for each product: at 100 rows in the lighter colour."""
    sizes: dict[str, dict[str, list[float]]] = defaultdict(dict)
    for name, values in rates.items():
        product, _, rows = name.rpartition("-")
        sizes[product if rows.isdigit() else name][rows] = values
    pairs = {product: pair(of_product) for product, of_product in sizes.items()}
    products = sorted(pairs, key=lambda product: max(map(median, pairs[product].values())))
    for at_100, shift in ((False, 0.2), (True, -0.2)):
        there = [(place, pairs[name][at_100]) for place, name in enumerate(products) if at_100 in pairs[name]]
        whiskers = [[median(v) - min(v) for _, v in there], [max(v) - median(v) for _, v in there]]
        ours = [products[place].startswith("keepstream") for place, _ in there]
        axis.barh(
            [place + shift for place, _ in there], [median(v) for _, v in there], 0.38, xerr=whiskers, capsize=3,
            color=[(OURS if one else OTHERS) for one in ours], alpha=0.5 if at_100 else 1,
            label="100 rows per commit" if at_100 else "at its best",
        )  # fmt: skip
    axis.set_yticks(range(len(products)), products)
    axis.legend()


def pair(sizes: dict[str, list[float]]) -> dict[bool, list[float]]:
    """Return the rates at 100 rows, where there are such, and those of the fastest size where there are others."""
    found = {True: sizes["100"]} if "100" in sizes else {}
    return found | ({False: max(sizes.values(), key=median)} if sizes.keys() - {"100"} else {})


def latency(results: Path) -> None:
    figures = [figure for figure in load(results, "latency") if "share" in figure]
    if not figures:
        return
    _, axis = plt.subplots(figsize=(7, 4.5))
    for name, is_pinned in dict.fromkeys((figure["contestant"], figure["pinned"]) for figure in figures):
        ours = [figure for figure in figures if (figure["contestant"], figure["pinned"]) == (name, is_pinned)]
        for value, style in (("p50_ms", "--"), ("p99_ms", "-")):
            points = by(ours, "share", value)
            label = f"{name}{', pinned' * is_pinned} {value[:3]}"
            axis.plot([100 * x for x in points], [median(y) for y in points.values()], style, marker="o", label=label)
    axis.set(xlabel="% of the maximum rate", ylabel="ms from produce to commit", yscale="log")
    axis.legend()
    save(results / "latency.png")


def curves(results: Path) -> None:
    """Draw each curve's rate, and under it what an event costs; its points stand at even distances."""
    figures = load(results, "curves")
    names = list(dict.fromkeys(figure["curve"] for figure in figures))
    if not names:
        return
    rows = -(-len(names) // CURVES_PER_ROW)
    _, axes = plt.subplots(2 * rows, CURVES_PER_ROW, figsize=(4 * CURVES_PER_ROW, 6 * rows), squeeze=False)
    for number, name in enumerate(names):
        row, column = divmod(number, CURVES_PER_ROW)
        upper, lower = axes[2 * row][column], axes[2 * row + 1][column]
        of_curve = [figure for figure in figures if figure["curve"] == name]
        line(upper, by(of_curve, "x", "events_per_s"), "events/s")
        for part in ("worker", "postgres", "broker"):
            line(lower, by(of_curve, "x", f"{part}_cpu_us"), part)
        upper.set(title=name, ylabel="events/s", ylim=(0, None))
        lower.set(ylabel="CPU µs/event", ylim=(0, None))
        lower.legend()
    save(results / "curves.png")


def line(axis: Any, points: dict[Any, list[float]], label: str) -> None:
    places = range(len(points))
    axis.plot(places, [median(values) for _, values in sorted(points.items())], marker="o", label=label)
    axis.set_xticks(places, [f"{x:g}" if x < 1 else f"{x:,.0f}" for x in sorted(points)])


def save(path: Path) -> None:
    plt.tight_layout()
    plt.savefig(path, dpi=110)
    plt.close()


if __name__ == "__main__":
    for picture in (throughput, latency, curves):
        picture(Path(sys.argv[1]))
