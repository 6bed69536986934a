"""How long partitions stand still that stay where they are while a third member joins a group, and leaves again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from benchmarks.consumer_bench import AIOKAFKA, LIBRDKAFKA, PARTITIONS, Bench, finish
from benchmarks.contestant import Course
from benchmarks.drain import new_schema
from benchmarks.events import Backlog, create, event
from benchmarks.roster import KEEPSTREAM_100

ALONE_S, JOINED_S, LEFT_S = 15, 12, 8
EVERY_S = 0.01
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "eager": (AIOKAFKA, {}),
    "eager, roundrobin": (LIBRDKAFKA, {"partition.assignment.strategy": "roundrobin", "session.timeout.ms": 10_000,
                                       "heartbeat.interval.ms": 2_000}),
    "cooperative-sticky": (LIBRDKAFKA, {"partition.assignment.strategy": "cooperative-sticky",
                                        "session.timeout.ms": 10_000, "heartbeat.interval.ms": 2_000}),
    "KIP-848": (LIBRDKAFKA, {"group.protocol": "consumer"}),
}  # fmt: skip


def rebalance(bench: Bench) -> None:
    """Three members of each client alone, then three workers; the partitions get a record each every 10 ms."""
    for number in range(bench.now.runs):
        for form, (client, config) in FORMS.items():
            topic = f"live-{form.replace(', ', '-').replace(' ', '-')}-{number}"
            with traffic(bench, topic):
                figure = members(bench, client, topic, config=config, group=topic)
            bench.add("rebalance", client, figure, form=form, round=number)
        topic = f"live-worker-{number}"
        with traffic(bench, topic):
            bench.add("rebalance", AIOKAFKA, workers(bench, topic), form="the worker", round=number)


def members(bench: Bench, client: str, topic: str, **given: Any) -> dict[str, Any]:
    two = [bench.start("member", client, topic, PARTITIONS, **given) for _ in range(2)]
    time.sleep(ALONE_S)
    joins = time.monotonic()
    third = bench.start("member", client, topic, PARTITIONS, **given)
    time.sleep(JOINED_S)
    leaves = time.monotonic()
    third.terminate()
    time.sleep(LEFT_S)
    for process in two:
        process.terminate()
    finish(third)
    seen = [times for process in two for times in finish(process)["arrivals"].values()]
    return stalls(seen, joins, leaves)


def workers(bench: Bench, topic: str) -> dict[str, Any]:
    """Return how long stored offsets stood still, of all partitions: which of them moved is not known here."""
    stage, backlog = bench.now.stage, Backlog(partitions=PARTITIONS, name=topic)
    with new_schema(stage, KEEPSTREAM_100) as (connection, schema):
        course = Course(bench.servers, stage.url, schema, backlog, stage.synchronous_commit, stage.folder)
        running = [KEEPSTREAM_100.start(course, number) for number in range(2)]
        seen: list[list[float]] = [[] for _ in range(PARTITIONS)]
        stored = [0] * PARTITIONS

        def watch(seconds: float) -> float:
            until = time.monotonic() + seconds
            while (now := time.monotonic()) < until:
                for partition, offset in connection.execute("SELECT partition, next_offset FROM stream_offsets"):
                    if offset > stored[partition]:
                        stored[partition] = offset
                        seen[partition].append(now)
                time.sleep(EVERY_S)
            return now

        try:
            joins = watch(ALONE_S)
            running.append(KEEPSTREAM_100.start(course, 2))
            leaves = watch(JOINED_S)
            running[2].stop(timeout_s=1)
            watch(LEFT_S)
        finally:
            for worker in running:
                worker.stop(timeout_s=15)
    return stalls(seen, joins, leaves)


def stalls(seen: Sequence[Sequence[float]], joins: float, leaves: float) -> dict[str, Any]:
    joining, leaving = gaps(seen, joins, leaves), gaps(seen, leaves, leaves + LEFT_S)
    return {"stayed": len(joining), "join_longest_s": max(joining, default=None),
            "leave_longest_s": max(leaving, default=None)}  # fmt: skip


def gaps(seen: Sequence[Sequence[float]], begin: float, end: float) -> list[float]:
    """Return the longest wait of each partition that one member read shortly before and until the end."""
    found = []
    for times in seen:
        within = [at for at in times if begin - 1 <= at <= end]
        if within and within[0] < begin - 0.5 and within[-1] > end - 0.5:
            found.append(max(b - a for a, b in pairwise(within)))
    return found


@contextmanager
def traffic(bench: Bench, topic: str) -> Iterator[None]:
    """Send an event to each partition every 10 ms, to a new topic."""
    create(bench.servers, topic, PARTITIONS)
    ended = threading.Event()

    def send() -> None:
        producer = bench.producer(**{"linger.ms": 0})
        while not ended.wait(EVERY_S):
            for partition in range(PARTITIONS):
                producer.produce(topic, event(0, 360), partition=partition)
            producer.poll(0)
        producer.flush(10)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
