"""A real Prometheus that scrapes real workers each second, with the alerts of deploy/prometheus in quick time."""

from __future__ import annotations

import json
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keepstream.app.embedded.process import ChildProcess, Program
from keepstream.app.embedded.service import LOOPBACK, free_port

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
RULES = DEPLOY / "prometheus" / "keepstream.rules.yml"
_QUICKER = {"m": "s", "h": "m", "d": "h"}
MISSING = "{} is not installed (Debian: apt-get install prometheus)"


def program(name: str) -> str:
    """Return the path of ``prometheus`` or ``promtool``; skip with the reason where there is none."""
    return shutil.which(name) or pytest.skip(MISSING.format(name))


def quick_time(rules: str) -> str:
    """Turn a minute into a second, an hour into a minute, a day into an hour."""
    return re.sub(r"(?<=[\[ ])(\d+)([mhd])(?=[\]\n])", lambda found: found[1] + _QUICKER[found[2]], rules)


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return an instant query's series. Raises AssertionError with the server's words for a bad query."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def range(self, expression: str, start: float, end: float, step: str = "2s") -> list[dict[str, Any]]:
        """Return a range query's series; times in seconds since 1970."""
        found: list[dict[str, Any]] = self._get(
            "query_range", query=expression, start=f"{start:.3f}", end=f"{end:.3f}", step=step
        )["result"]
        return found

    def value(self, expression: str) -> float | None:
        """Return the first series' value, None without one."""
        return next((float(series["value"][1]) for series in self.query(expression)), None)

    def firing(self, over: str = "[3s]", matchers: str = "") -> set[str]:
        """Return the alerts that fire now, or that fired within a range like ``[10m]``."""
        series = self.query(f'max_over_time(ALERTS{{alertstate="firing",{matchers}}}{over})')
        return {found["metric"]["alertname"] for found in series}

    def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:
                data: dict[str, Any] = json.load(answer)["data"]
                return data
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None


@contextmanager
def scraping(targets: list[str], folder: Path) -> Iterator[Prometheus]:
    """Run a server that scrapes these ``host:port`` each second and evaluates the rules in quick time."""
    binary = program("prometheus")
    (folder / "rules.yml").write_text(quick_time(RULES.read_text(encoding="utf-8")), encoding="utf-8")
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "keepstream", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    address = f"{LOOPBACK}:{free_port()}"
    argv = (binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address={address}", "--log.level=warn")  # fmt: skip
    child = ChildProcess(Program("prometheus", argv, folder / "prometheus.log", "see its log"))
    try:
        child.wait_ready(lambda: _ready(address), timeout_s=30)
        yield Prometheus(f"http://{address}")
    finally:
        child.stop(timeout_s=5)


def _ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
