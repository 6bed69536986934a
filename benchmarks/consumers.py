"""aiokafka as the worker drives it against confluent-kafka: what a change of the client would cost and give.

``make bench-consumers`` (RUNS=3; ONLY=rate,pause,memory,rebalance,bomb,corrupt,header). What followed from it is in
docs/decisions/consuming.md, "The client library". Each reader is a process of its own, in turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from benchmarks.consumer_bench import AIOKAFKA, BOUNDED, CLIENTS, LIBRDKAFKA, PARTITIONS, Bench
from benchmarks.consumer_faults import bomb, corrupt, header
from benchmarks.consumer_rebalance import rebalance
from benchmarks.events import TEXT, Backlog, create, event
from benchmarks.figures import grouped, spread
from benchmarks.machine import machine
from benchmarks.report import row, table
from benchmarks.sitting import Sitting, folder, options
from benchmarks.stage import open_stage

RECORD_BYTES = 1_000_000
POLICIES: dict[str, dict[str, Any]] = {
    "pause": {}, "resume at half": {"resume_at": 0.5}, "wait while any is full": {"all_wait": True}
}  # fmt: skip
ABOUT = ("policy", "form", "partitions", "codec", "damage", "batch_mb", "decompressed_mb")


def rate(bench: Bench) -> None:
    """Measure how fast a backlog of 360 byte events becomes batches of one partition, and at which CPU."""
    backlog = Backlog(bench.now.events, 360, PARTITIONS)
    topic = bench.now.stage.fill(backlog)
    for number in range(bench.now.runs + 3):
        for client in CLIENTS:
            figure = bench.run("drain", client, topic, PARTITIONS, events=backlog.events)
            if number:  # the first fills the page cache
                bench.add("rate", client, figure, round=number)


def pause(bench: Bench) -> None:
    """Measure per-partition backpressure: all queues full, and partition 0 stalled for 4 of 10 seconds."""
    topic, size = f"plain-{bench.now.events}", 360
    create(bench.servers, topic, PARTITIONS)
    producer = bench.producer(**{"queue.buffering.max.messages": 1_000_000, "linger.ms": 20})
    for number in range(bench.now.events):
        producer.produce(topic, event(number, size), partition=number % PARTITIONS)
    producer.flush(120)
    for number in range(bench.now.runs):
        for client, policy in [(AIOKAFKA, "pause"), *((LIBRDKAFKA, name) for name in POLICIES)]:
            given = POLICIES[policy] | {"rate": 24_000, "seconds": 10.0, "stall_s": (3.0, 7.0)}
            figure = bench.run("paced", client, topic, PARTITIONS, **given)
            figure["received_per_event"] = figure["received_mb"] * 1e6 / figure["taken"]
            bench.add("pause", client, figure, policy=policy, round=number)


def memory(bench: Bench) -> None:
    """Measure the memory of records of 1 MB while a slow reader settles 16 of them a second."""
    for partitions in (8, 64):
        for codec in ("none", "lz4", "zstd"):
            topic = f"large-{codec}-{partitions}"
            fill_large(bench, topic, partitions, codec)
            for client in (AIOKAFKA, LIBRDKAFKA, "librdkafka, defaults", BOUNDED):
                figure = bench.run("paced", client, topic, partitions, rate=16, seconds=10.0, resume_at=0.5)
                bench.add("memory", client, figure, partitions=partitions, codec=codec)


def fill_large(bench: Bench, topic: str, partitions: int, codec: str) -> None:
    """Produce 512 records of 1 MB: prose, or a run of one character, a 250th (lz4) or a 10,000th of it on the wire."""
    create(bench.servers, topic, partitions)
    producer = bench.producer(**{"compression.type": codec, "batch.num.messages": 1})
    prose = (TEXT * (RECORD_BYTES // len(TEXT) + 1)).encode()
    for number in range(512):
        producer.produce(topic, (prose if codec == "none" else b"x" * RECORD_BYTES)[:RECORD_BYTES],
                         partition=number % partitions)  # fmt: skip
        if number % 16 == 0:
            producer.flush(60)
    producer.flush(60)


QUESTIONS = {q.__name__: q for q in (rate, pause, memory, bomb, corrupt, header, rebalance)}


def report(figures: list[dict[str, Any]]) -> Iterator[str]:
    """Yield one table per question: the medians of what was counted."""
    for (question,), found in grouped(figures, "question").items():
        about = [
            name
            for name in ("policy", "form", "partitions", "codec", "damage", "batch_mb", "decompressed_mb")
            if name in found[0]
        ]
        counted = [name for name in dict.fromkeys(chain(*found)) if name not in {"question", "client", "round", *about}]
        rows = []
        for key, runs in grouped(found, "client", *about).items():
            cells = []
            for name in counted:
                values = [run.get(name) for run in runs]
                numbers = [value for value in values if isinstance(value, (int, float))]
                middle = spread(numbers)
                cells.append(middle.text(2) if middle else str(values[0] if values[0] is not None else "-"))
            rows.append(row(*key, *cells))
        yield from table(question, ("client", *about, *counted), rows)


def main() -> None:
    given = options("consumers").parse_args()
    names = [name for name in given.only.split(",") if name] or list(QUESTIONS)
    given.only = ""  # each question has a file of its own, so one of them is complete too
    with open_stage() as stage:
        for name in names:
            results = folder(given) / "consumers"
            now = Sitting(name, stage, given.events, given.runs, results, machine=machine(stage))
            QUESTIONS[name](Bench(now))
            print("\n".join(report(now.figures)), flush=True)


if __name__ == "__main__":
    main()
