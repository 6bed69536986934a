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
LOG_CURVES = ("batch size", "partitions", "event size", "table rows")


def load(results: Path, name: str) -> list[dict[str, Any]]:
    path = results / f"{name}.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["figures"]) if path.is_file() else []


def by(figures: list[dict[str, Any]], key: str, value: str) -> dict[Any, list[float]]:
    found: dict[Any, list[float]] = defaultdict(list)
    for figure in figures:
        found[figure[key]].append(figure[value])
    return found


def throughput(results: Path) -> None:
    figures = load(results, "throughput")
    sizes = sorted({figure["size_bytes"] for figure in figures})
    if not sizes:
        return
    _, axes = plt.subplots(1, len(sizes), figsize=(6.5 * len(sizes), 4.5), squeeze=False)
    for axis, size in zip(axes[0], sizes, strict=True):
        rates = by([f for f in figures if f["size_bytes"] == size], "contestant", "events_per_s")
        names = sorted(rates, key=lambda name: median(rates[name]))
        middles = [median(rates[name]) for name in names]
        whiskers = [[m - min(rates[n]), max(rates[n]) - m] for n, m in zip(names, middles, strict=True)]
        colours = [OURS if name.startswith("keepstream") else OTHERS for name in names]
        axis.barh(names, middles, xerr=[*zip(*whiskers, strict=True)], color=colours, capsize=3)
        axis.set(title=f"events of {size} bytes", xlabel="events/s")
    save(results / "throughput.png")


def latency(results: Path) -> None:
    figures = [figure for figure in load(results, "latency") if "share" in figure]
    if not figures:
        return
    _, axis = plt.subplots(figsize=(7, 4.5))
    for name in dict.fromkeys(figure["contestant"] for figure in figures):
        ours = [figure for figure in figures if figure["contestant"] == name]
        for value, style in (("p50_ms", "--"), ("p99_ms", "-")):
            points = by(ours, "share", value)
            label = f"{name} {value[:3]}"
            axis.plot([100 * x for x in points], [median(y) for y in points.values()], style, marker="o", label=label)
    axis.set(xlabel="% of its own maximum rate", ylabel="ms from produce to commit", yscale="log")
    axis.legend()
    save(results / "latency.png")


def curves(results: Path) -> None:
    figures = load(results, "curves")
    names = list(dict.fromkeys(figure["curve"] for figure in figures))
    if not names:
        return
    _, axes = plt.subplots(2, len(names), figsize=(4 * len(names), 7), squeeze=False)
    for column, name in enumerate(names):
        of_curve = [figure for figure in figures if figure["curve"] == name]
        upper, lower = axes[0][column], axes[1][column]
        line(upper, by(of_curve, "x", "events_per_s"), "events/s")
        for part in ("worker", "postgres", "broker"):
            line(lower, by(of_curve, "x", f"{part}_cpu_us"), part)
        upper.set(title=name, ylabel="events/s", ylim=(0, None))
        lower.set(ylabel="CPU µs/event", ylim=(0, None))
        lower.legend()
        for axis in (upper, lower) if name in LOG_CURVES else ():
            axis.set_xscale("symlog")
    save(results / "curves.png")


def line(axis: Any, points: dict[Any, list[float]], label: str) -> None:  # noqa: ANN401 - matplotlib is not at hand
    axis.plot(list(points), [median(values) for values in points.values()], marker="o", label=label)


def save(path: Path) -> None:
    plt.tight_layout()
    plt.savefig(path, dpi=110)
    plt.close()


if __name__ == "__main__":
    for picture in (throughput, latency, curves):
        picture(Path(sys.argv[1]))
