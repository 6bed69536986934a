"""How fast an audit is: a topic that a real worker settled, then ``keepstream audit`` in both forms, as processes.

Run with ``make bench-audit``. 2 % of the records are repeats and 1 % are broken. Prints one JSON object per run:
seconds, records/s, CPU per record and peak memory of the command; the last run of the deep form has to find a row that
was deleted by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.backlog import BROKER_JVM, PARTITIONS, TOPIC, event
from keepstream.app.embedded.kafka import EmbeddedKafka
from keepstream.app.embedded.postgres import EmbeddedPostgres
from keepstream.app.embedded.process import WorkerProcess
from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from keepstream.sinks.postgres.migrate import migrate

TIMEOUT_S = 600
DELETE_THE_LAST = """
DELETE FROM events WHERE event_id = (
    SELECT event_id FROM events WHERE source_partition = 7 ORDER BY source_offset DESC LIMIT 1)"""


def fill(bootstrap_servers: str, count: int, size: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    topics = [NewTopic(TOPIC, PARTITIONS, 1), NewTopic("event-dlq", 1, 1, config=DEAD_LETTER_TOPIC_CONFIG)]
    for made in admin.create_topics(topics).values():
        made.result(timeout=30)
    producer = Producer({"bootstrap.servers": bootstrap_servers, "compression.type": "lz4", "linger.ms": 20,
                         "queue.buffering.max.messages": 1_000_000})  # fmt: skip
    repeated = event(0, size)
    for number in range(count):
        value = event(number, size)
        repeated = value if number % 100 == 1 else repeated
        value = {50: repeated, 51: repeated, 52: b"broken %d" % number}.get(number % 100, value)
        producer.produce(TOPIC, value, partition=number % PARTITIONS)
        if number % 5000 == 0:
            producer.poll(0)
    producer.flush()


def settle(environment: dict[str, str], connection: psycopg.Connection[tuple[Any, ...]], count: int, log: Path) -> None:
    worker = WorkerProcess(environment, log)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while connection.execute("SELECT total FROM event_totals").fetchall()[0][0] < count:
            if time.monotonic() > deadline or worker.exit_code is not None:
                raise SystemExit(f"the worker did not finish:\n{worker.log_end()}")
            time.sleep(0.25)
    finally:
        worker.stop()


def audit(environment: dict[str, str], count: int, *options: str) -> dict[str, Any]:
    """Run the command; the figures are the whole process, from its start to its end."""
    started = time.monotonic()
    argv = [sys.executable, "-P", "-m", "keepstream.app", "audit", "--json", *options]
    process = subprocess.Popen(
        argv, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    rows = [json.loads(line) for line in process.stdout]
    _, status, usage = os.wait4(process.pid, 0)
    duration_s = time.monotonic() - started
    return {
        "form": " ".join(options) or "quick",
        "exit_code": os.waitstatus_to_exitcode(status),
        "found": [f"{row['fault']} {row['partition']}-{row['offset']}" for row in rows if "fault" in row],
        "duration_s": round(duration_s, 2),
        "records_per_s": round(count / duration_s),
        "cpu_us_per_record": round((usage.ru_utime + usage.ru_stime) * 1e6 / count, 2),
        "rss_mb": usage.ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=360)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    with (
        EmbeddedKafka(jvm_options=BROKER_JVM) as kafka,
        EmbeddedPostgres(settings={"max_wal_size": "4GB"}) as postgres,
        tempfile.TemporaryDirectory() as folder,
        psycopg.connect(postgres.url, autocommit=True, options="-c search_path=keepstream") as connection,
    ):
        migrate(connection, "keepstream")
        environment = {
            "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "KEEPSTREAM_POSTGRES__URL": postgres.url,
            "KEEPSTREAM_POSTGRES__SCHEMA_NAME": "keepstream", "KEEPSTREAM_HTTP__PORT": "0",
            "KEEPSTREAM_LOG__FORMAT": "json",
        }  # fmt: skip
        fill(kafka.bootstrap_servers, given.events, given.size)
        settle(environment, connection, given.events, Path(folder) / "worker.log")
        connection.execute("VACUUM ANALYZE")
        for options in [(), *[("--deep",)] * given.runs]:
            print(json.dumps(audit(environment, given.events, *options)), flush=True)
        connection.execute(DELETE_THE_LAST)
        print(json.dumps(audit(environment, given.events, "--deep")), flush=True)


if __name__ == "__main__":
    main()
