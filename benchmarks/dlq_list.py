"""How long `keepstream dlq list --limit 50` takes on a topic of 1,000,000 dead letters, as a process.

    .venv/bin/python -m benchmarks.dlq_list [LETTERS] [PARTITIONS]

Uses KEEPSTREAM_TEST_BOOTSTRAP_SERVERS and KEEPSTREAM_TEST_POSTGRES_URL where they are given, else embedded services.
The goal is 2 s for the last 50, whatever the topic holds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from confluent_kafka import Producer

from keepstream.schemas.dead_letter import DeadLetter, dead_letter_headers
from keepstream.schemas.failure import Failure, Step, Verdict
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from tests.real import Kafka, Postgres, start_servers

Headers = list[tuple[str, str | bytes | None]]

RUNS = 5
START = datetime(2026, 11, 1, tzinfo=UTC)
FAILURE = Failure(Step.STORE, Verdict.RECORD, "check_violation", 'no: constraint "affordable"', "23514")


def main(letters: int = 1_000_000, partitions: int = 1) -> None:
    with start_servers() as servers:
        assert not isinstance(servers, str), servers
        kafka = Kafka(servers.bootstrap_servers)
        topic = kafka.new_topic(partitions, "event-dlq", DEAD_LETTER_TOPIC_CONFIG)
        print(f"filling {topic} with {letters:,} dead letters", flush=True)
        fill(kafka.bootstrap_servers, topic, letters, partitions)
        with Postgres(servers.postgres_url).new_schema() as database:
            environment = {
                **os.environ,
                "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
                "KEEPSTREAM_KAFKA__DLQ_TOPIC": topic,
                "KEEPSTREAM_POSTGRES__URL": database.url,
                "KEEPSTREAM_POSTGRES__SCHEMA_NAME": database.schema,
            }
            middle = (START + timedelta(seconds=letters // 2)).isoformat()
            measure(environment, "list", "--limit", "50", "--json")
            measure(environment, "list", "--limit", "50", "--json", "--until", middle)
            measure(environment, "show", f"{topic}-0-{letters // partitions // 2}", "--json")


def fill(
    bootstrap_servers: str, topic: str, count: int, partitions: int, why: Callable[[int], Failure] = lambda _: FAILURE
) -> None:
    """Write ``count`` dead letters, spread over the partitions; ``why`` tells of what each one died."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 20, "compression.type": "lz4"})
    for number, (record, headers) in enumerate(dead(count, why)):
        while True:
            try:
                producer.produce(
                    topic, record.value, record.key, partition=number % partitions,
                    headers=headers,
                    timestamp=record.timestamp,
                )  # fmt: skip
            except BufferError:
                producer.poll(0.1)
            else:
                break
        producer.poll(0)
    assert producer.flush(120) == 0


def dead(count: int, why: Callable[[int], Failure]) -> Iterator[tuple[KafkaRecord, Headers]]:
    """One death per second; the records' own timestamps run backwards, so that Kafka's index is of no use."""
    for number in range(count):
        value = b'{"event_id":"e-%d","payload":{"amount":%d,"text":"%s"}}' % (number, number, b"x" * 200)
        timestamp = 1_795_514_400_000 - number
        record = KafkaRecord("events", number % 8, number // 8, timestamp, b"k%d" % number, value)
        at = START + timedelta(seconds=number)
        yield record, [*dead_letter_headers(DeadLetter(record, why(number), at, at, f"e-{number}"), "bench")]


def measure(environment: dict[str, str], *arguments: str) -> None:
    argv = [sys.executable, "-P", "-m", "keepstream.app", "dlq", *arguments]
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        answer = subprocess.run(argv, env=environment, capture_output=True, check=True)
        took.append(time.perf_counter() - began)
    lines = answer.stdout.count(b"\n")
    print(f"{' '.join(arguments):<80} {lines:>3} rows  median {statistics.median(took):.2f} s  max {max(took):.2f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
