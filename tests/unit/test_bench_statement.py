"""The figures that pages state: which rows of a sitting they are taken from."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.statement import statement

RATES = {"keepstream": 90_000, "keepstream-100": 70_000, "flink-100": 50_000, "hand-1000": 40_000}


def sitting(folder: Path, rates: dict[str, int]) -> Path:
    """Write three rounds, with commits that wait for the disk and twice as fast with those that do not."""
    figures = [
        {"contestant": name, "size_bytes": 360, "synchronous_commit": waits, "events_per_s": rate * (2 - waits) + turn}
        for name, rate in rates.items() for waits in (True, False) for turn in range(3)
    ]  # fmt: skip
    left = {"events": 1000, "runs": 3, "machine": {"CPU": "2 cores, some"}, "figures": figures}
    (folder / "throughput.json").write_text(json.dumps(left), encoding="utf-8")
    return folder


def test_medians_of_commits_that_wait_for_the_disk_are_stated_fastest_first(tmp_path: Path) -> None:
    said = statement(sitting(tmp_path, RATES)).splitlines()
    assert said[2:5] == [
        "| keepstream | 70,001 | 90,001 |",
        "| Flink SQL | 50,001 | - |",
        "| a hand-written `executemany` loop | - | 40,001 |",
    ]
    assert said[-1].startswith("Medians on 2 cores")
    assert "waits for the disk" in said[-1]


def test_one_contestant_is_no_comparison(tmp_path: Path) -> None:
    assert statement(sitting(tmp_path, {"keepstream": 90_000})) == ""
