"""A producer that keeps its timetable: event N is due at start + N / rate, however slow anybody is.

Run as a process of its own. Latency counts from when an event was due, so a producer or a broker that stalls is part
of what is measured (no coordinated omission). Prints when event 0 was due, and by how many seconds the producer itself
was late at worst: a sitting in which that is much was taken on a machine that was too busy.
"""

from __future__ import annotations

import random
import sys
import time

from confluent_kafka import Producer

from benchmarks.events import event

TICK_S = 0.0005
ID_TAIL = len("ffff-000000000000")


def template(*, flat: bool, size_bytes: int = 360) -> tuple[bytes, bytes]:
    """Return what stands before and after the last two groups of an event's id."""
    value = event(0, size_bytes, flat=flat)
    end = value.index(b'"', value.index(b"0193b2f4"))
    return value[: end - ID_TAIL], value[end:]


def main(bootstrap_servers: str, topic: str, partitions: int, rate: float, count: int, flat: str) -> None:
    head, tail = template(flat=flat == "flat")
    # Idempotent, as a service's should be. Without it librdkafka sends each millisecond's records of a partition as a
    # request of their own, however many the broker has not answered: on one core that alone took seconds.
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 1, "compression.type": "lz4",
                         "enable.idempotence": True, "queue.buffering.max.messages": 1_000_000})  # fmt: skip
    producer.list_topics(topic, timeout=30)
    began = time.time() + 0.2
    print(began, flush=True)
    sent, latest_s = 0, 0.0
    while sent < count:
        due = min(count, int((time.time() - began) * rate) + 1)
        for number in range(sent, due):
            value = b"%b%04x-%012d%b" % (head, random.getrandbits(16), number, tail)
            producer.produce(topic, value, partition=number % partitions)
        latest_s = max(latest_s, time.time() - began - sent / rate) if due > sent else latest_s
        sent = max(sent, due)
        producer.poll(0)
        time.sleep(TICK_S)
    if producer.flush(60):
        sys.exit("not all events reached the topic")
    print(latest_s)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
