"""A day in the life of a worker, in minutes: load, outages, a freeze, a crash, silence; a real Prometheus watches."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from keepstream.app.embedded.service import LOOPBACK
from tests.acceptance.conftest import System, Worker
from tests.builders import make_value
from tests.prometheus import DEPLOY, Prometheus, quick_time
from tests.real import Servers, eventually

RATE_PER_S = 200
OUTAGE_S = 40.0
"""Longer than the objective's 30 seconds."""
VARIABLES = {"$__rate_interval": "10s", "$job": ".+", "$instance": ".+", "$topic": ".+"}


def panel_queries() -> dict[str, str]:
    """Return every query of every dashboard, with Grafana's variables filled in."""
    found = {}
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", ()):
                query = target["expr"]
                for name, value in VARIABLES.items():
                    query = query.replace(name, value)
                legend = f" [{target['legendFormat']}]" if len(panel["targets"]) > 1 else ""
                found[f"{path.stem}: {panel['title']}{legend}"] = quick_time(query) if "[30d]" not in query else query
    return found


class Traffic:
    """Events at a steady rate, from a thread; a share of them is broken or refused by PostgreSQL."""

    def __init__(self, system: System, bad_share: float) -> None:
        self.bad_share = bad_share
        self._system = system
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._produce, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _produce(self) -> None:
        producer = Producer({"bootstrap.servers": self._system.kafka.bootstrap_servers})
        while not self._stop.wait(0.1):
            for _ in range(RATE_PER_S // 10):
                producer.produce(self._system.topic, self._value())
            producer.poll(0)
        producer.flush(20)

    def _value(self) -> bytes:
        if random.random() >= self.bad_share:
            return make_value()
        return random.choice((b"broken", make_value(payload={"amount": 1000})))


@dataclass
class Day:
    """What was seen. ``under_load`` and ``in_outage``: query -> its series' values."""

    system: System
    servers: Servers
    prometheus: Prometheus
    port: str
    under_load: dict[str, list[float]] = field(default_factory=dict)
    in_outage: dict[str, list[float]] = field(default_factory=dict)
    fired: set[str] = field(default_factory=set)
    fired_of_topic: set[str] = field(default_factory=set)
    """Of ``fired``, those with the label ``topic``."""
    cleared: set[str] = field(default_factory=set)
    began: float = field(default_factory=time.time)
    marks: list[tuple[float, float, str]] = field(default_factory=list)
    """(from, to, what was wrong), in seconds since 1970."""

    def live(self) -> None:
        self.system.database.execute("ALTER TABLE events ADD CONSTRAINT cheap CHECK ((payload->>'amount')::int < 100)")
        worker = self._start()
        traffic = Traffic(self.system, bad_share=0.04)
        self._until(lambda: worker.metric("keepstream_dlq_open_events") > 0, "the ledger was read")
        self._fires("KeepstreamDeadLettersGrowing", "KeepstreamRetryStorm")
        self.under_load = self._read_panels()
        for what, trouble in (
            ("PostgreSQL away", self._outage_of_postgres),
            ("worker frozen for 3 s", lambda: self._freeze(worker)),
            ("dead letter topic deleted", self._lose_the_dead_letter_topic),
        ):
            since = time.time()
            trouble()
            self.marks.append((since, time.time(), what))
        traffic.bad_share = 0.0
        self._clears("KeepstreamDeadLettersNotPublished", "KeepstreamDeadLettersGrowing", "KeepstreamRetryStorm")
        since = time.time()
        worker.process.kill()
        self._fires("KeepstreamDown")
        self._start()
        self.marks.append((since, time.time(), "worker killed"))
        self._clears("KeepstreamDown")
        traffic.stop()
        self._fires("KeepstreamNoInput", timeout_s=90)
        again = Traffic(self.system, bad_share=0.0)
        self._clears("KeepstreamNoInput", "KeepstreamBudgetBurnsFast")
        again.stop()
        self.fired = self.prometheus.firing("[10m]")
        self.fired_of_topic = self.prometheus.firing("[10m]", f'topic="{self.system.topic}"')

    def _start(self) -> Worker:
        return self.system.start_worker(KEEPSTREAM_HTTP__PORT=self.port, KEEPSTREAM_KAFKA__DLQ_TIMEOUT_S="2")

    def _outage_of_postgres(self) -> None:
        assert self.servers.postgres
        began = time.monotonic()
        self.servers.postgres.stop(keep_data=True)
        self._fires("KeepstreamPartitionsHeld", "KeepstreamPartitionStalled")
        time.sleep(max(0.0, OUTAGE_S - (time.monotonic() - began)))
        self.in_outage = self._read_panels()
        self.servers.postgres.start()
        self._fires("KeepstreamBudgetBurnsFast")
        self._clears("KeepstreamPartitionsHeld", "KeepstreamPartitionStalled")

    def _freeze(self, worker: Worker) -> None:
        os.kill(worker.process.pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(worker.process.pid, signal.SIGCONT)
        self._fires("KeepstreamLoopLate")
        self._clears("KeepstreamLoopLate")

    def _lose_the_dead_letter_topic(self) -> None:
        topic = self.system.dlq_topic
        admin = AdminClient({"bootstrap.servers": self.system.kafka.bootstrap_servers})
        admin.delete_topics([topic])[topic].result(timeout=30)
        self._fires("KeepstreamDeadLettersNotPublished")
        self.system.kafka.create_topic(topic)

    def _fires(self, *alerts: str, timeout_s: float = 45) -> None:
        self._until(lambda: set(alerts) <= self.prometheus.firing(), f"{alerts} fire", timeout_s)

    def _clears(self, *alerts: str) -> None:
        self._until(lambda: not set(alerts) & self.prometheus.firing(), f"{alerts} clear", 60)
        self.cleared.update(alerts)

    def _until(self, condition: Callable[[], object], what: str, timeout_s: float = 45) -> None:
        try:
            eventually(condition, timeout_s, what)
        except AssertionError as error:
            log = self.system.workers[-1].process.log_end(20)
            raise AssertionError(f"{error}\nfiring: {self.prometheus.firing()}\n{log}") from None

    def _read_panels(self) -> dict[str, list[float]]:
        return {name: [value(series) for series in self.prometheus.query(query)] for name, query in QUERIES.items()}


def value(series: dict[str, Any]) -> float:
    return float(series["value"][1])


QUERIES = panel_queries()


def table(day: Day) -> str:
    """Write what was seen, a line per panel and alert."""

    def summary(values: list[float]) -> str:
        known = [v for v in values if not math.isnan(v)]
        return f"{max(known):>14,.4g} of {len(values):<3}" if known else f"{'no value':>14} of {len(values):<3}"

    lines = [f"{'':64} {'under load':>21} {'PostgreSQL away':>21}"]
    lines += [f"{name[:64]:64} {summary(day.under_load[name])} {summary(day.in_outage[name])}" for name in QUERIES]
    lines += [f"{name:64} {'fired' if name in day.fired else '-':>14} {'cleared' if name in day.cleared else '':>20}"
              for name in sorted(day.fired | day.cleared)]  # fmt: skip
    return "\n".join(lines)


def target(port: int) -> str:
    return f"{LOOPBACK}:{port}"


def folder_for(path: Path, name: str) -> Path:
    made = path / name
    made.mkdir()
    return made
