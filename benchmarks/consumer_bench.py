"""The readers of `benchmarks.consumers`: their names, their settings, and how they are started."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from confluent_kafka import Producer

from benchmarks.contestant import ROOT
from benchmarks.sitting import Sitting

AIOKAFKA, LIBRDKAFKA, MESSAGES = "aiokafka", "librdkafka", "librdkafka, bare messages"
BOUNDED = "librdkafka, bounded"
"""With what bounds its memory as far as settings can, and with checked batches."""
PARTITIONS = 8
SMALL_FETCHES = {
    "message.max.bytes": 1_000, "fetch.max.bytes": 65_536, "fetch.message.max.bytes": 4_096,
    "queued.max.messages.kbytes": 1_024, "fetch.queue.backoff.ms": 5,
}  # fmt: skip
CLIENTS: dict[str, tuple[str, dict[str, Any]]] = {
    AIOKAFKA: (AIOKAFKA, {}),
    LIBRDKAFKA: (LIBRDKAFKA, {}),
    MESSAGES: (LIBRDKAFKA, {}),
    "librdkafka, check.crcs": (LIBRDKAFKA, {"check.crcs": True}),
    "librdkafka, defaults": (LIBRDKAFKA, {"fetch.max.bytes": 52_428_800, "queued.max.messages.kbytes": 65_536}),
    BOUNDED: (LIBRDKAFKA, SMALL_FETCHES | {"check.crcs": True}),
}


class Bench:
    """The sitting, and the readers that it starts."""

    def __init__(self, now: Sitting) -> None:
        self.now = now
        self.servers = now.stage.bootstrap_servers

    def start(self, program: str, client: str, topic: str, partitions: int, **given: Any) -> subprocess.Popen[str]:
        library, config = CLIENTS[client]
        plan = {
            "client": library, "records": client != MESSAGES, "bootstrap_servers": self.servers, "topic": topic,
            "partitions": partitions, "config": config | given.pop("config", {}), "group": given.pop("group", ""),
        }  # fmt: skip
        argv = [sys.executable, "-m", "benchmarks.consumer_programs", program, json.dumps({"plan": plan, **given})]
        return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def run(self, program: str, client: str, topic: str, partitions: int, **given: Any) -> dict[str, Any]:
        return finish(self.start(program, client, topic, partitions, **given))

    def producer(self, **config: Any) -> Producer:
        return Producer({"bootstrap.servers": self.servers, "message.max.bytes": 1_000_000_000, **config})

    def add(self, question: str, client: str, figure: dict[str, Any], **about: Any) -> None:
        shown = {name: round(value, 2) if isinstance(value, float) else value for name, value in figure.items()}
        self.now.add({"question": question, "client": client} | about | shown)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=300)
    if process.returncode:
        return {"died": process.returncode}
    return dict(json.loads(out))
