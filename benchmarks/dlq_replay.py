"""How fast `keepstream dlq replay --yes` is without a rate, as a process, and how much memory it takes.

    .venv/bin/python -m benchmarks.dlq_replay [LETTERS ...]

Prints for each size: letters/s of the run itself, seconds of the whole command with its survey, peak memory. The goals
are 20,000 letters/s, and the same memory at every size.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks.dlq_list import FAILURE, fill
from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from tests.real import Database, Kafka, Postgres, start_servers

PARTITIONS = 8
INDEX = """
INSERT INTO dead_letters (topic, partition, "offset", event_id, step, verdict, reason, message, sqlstate, attempts,
                          first_failed_at, last_failed_at)
SELECT 'events', n %% 8, n / 8, 'e-' || n, %s, %s, %s, %s, %s, 1, now(), now() FROM generate_series(0, %s) n"""
RATE = "SELECT replayed, replayed / extract(epoch FROM finished_at - started_at) FROM replays"


def main(sizes: list[int]) -> None:
    with start_servers() as servers:
        assert not isinstance(servers, str), servers
        for size in sizes:
            with Postgres(servers.postgres_url).new_schema() as database:
                measure(Kafka(servers.bootstrap_servers), database, size)


def measure(kafka: Kafka, database: Database, letters: int) -> None:
    topic = kafka.new_topic(1, "event-dlq", DEAD_LETTER_TOPIC_CONFIG)
    target = kafka.new_topic(PARTITIONS, "events")
    fill(kafka.bootstrap_servers, topic, letters, 1)
    with database.connect() as connection:
        connection.execute(INDEX, [FAILURE.step, FAILURE.verdict, FAILURE.reason, FAILURE.message, FAILURE.sqlstate,
                                   letters - 1])  # fmt: skip
    environment = {
        **os.environ,
        "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "KEEPSTREAM_KAFKA__DLQ_TOPIC": topic,
        "KEEPSTREAM_POSTGRES__URL": database.url, "KEEPSTREAM_POSTGRES__SCHEMA_NAME": database.schema,
    }  # fmt: skip
    began = time.perf_counter()
    argv = [sys.executable, "-P", "-m", "keepstream.app", "dlq", "replay", "--yes", "--json", "--to-topic", target]
    command = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(command.pid, 0)
    took_s = time.perf_counter() - began
    with database.connect() as connection:
        replayed, rate = connection.execute(RATE).fetchall()[0]
    assert (status, replayed) == (0, letters)
    print(
        f"{letters:>9,} letters {rate:>9,.0f}/s   command {took_s:6.1f} s   {usage.ru_maxrss / 1024:.0f} MB", flush=True
    )


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [100_000])
