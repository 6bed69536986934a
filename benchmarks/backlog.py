"""How fast a worker drains a backlog: real Kafka, real PostgreSQL, on this machine, checked afterwards.

Run with ``make bench-backlog``. Prints one JSON object per run: events/s from the first to the last commit, CPU per
event and memory of the worker, and whether the counters equal the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from app.embedded.kafka import EmbeddedKafka
from app.embedded.postgres import EmbeddedPostgres
from app.supervised import WorkerProcess
from sinks.postgres.migrate import migrate

PARTITIONS = 8
TOPIC = "events"
BROKER_JVM = ("-Xmx1g", "-XX:+UseSerialGC")
TIMEOUT_S = 300
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def event(number: int, size: int) -> bytes:
    """One event of about ``size`` bytes."""
    document = {
        "event_id": f"0193b2f4-7e1a-7c3e-{random.getrandbits(16):04x}-{number:012d}",
        "payload": {"order_id": f"o-{random.randrange(10**6)}", "amount": 129.95, "currency": "EUR",
                    "items": [{"sku": "A-1", "qty": 2}, {"sku": "B-7", "qty": 1}]},
        "metadata": {"source": "shop", "region": "eu-central", "version": 3},
        "timestamp": "2026-11-24T10:11:12.345678Z", "correlation_id": "corr-0193b2f4-7e1a",
    }  # fmt: skip
    bare = len(json.dumps(document))
    document["payload"]["note"] = "x" * max(0, size - bare - len(', "note": ""'))  # type: ignore[index]
    return json.dumps(document).encode()


def fill(bootstrap_servers: str, count: int, size: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    for made in admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1), NewTopic("event-dlq", 1, 1)]).values():
        made.result(timeout=30)
    producer = Producer({"bootstrap.servers": bootstrap_servers, "compression.type": "lz4", "linger.ms": 20,
                         "queue.buffering.max.messages": 1_000_000})  # fmt: skip
    for number in range(count):
        producer.produce(TOPIC, event(number, size), partition=number % PARTITIONS)
        if number % 5000 == 0:
            producer.poll(0)
    producer.flush()


def drain(bootstrap_servers: str, url: str, count: int, batch_size: int, folder: Path) -> dict[str, Any]:
    """Run one worker over the whole topic, into a new schema and with a new group."""
    schema = f"bench_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(url, autocommit=True, options=f"-c search_path={schema}") as connection:
        migrate(connection, schema)
        connection.execute("CHECKPOINT")
        environment = {
            "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers, "KEEPSTREAM_KAFKA__GROUP_ID": schema,
            "KEEPSTREAM_POSTGRES__URL": url, "KEEPSTREAM_POSTGRES__SCHEMA_NAME": schema, "KEEPSTREAM_HTTP__PORT": "0",
            "KEEPSTREAM_WORKER__BATCH_SIZE": str(batch_size), "KEEPSTREAM_LOG__FORMAT": "json",
        }  # fmt: skip
        worker = WorkerProcess(environment, folder / f"{schema}.log")
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while connection.execute("SELECT total FROM event_totals").fetchall()[0][0] < count:
                if time.monotonic() > deadline or worker.exit_code is not None:
                    raise SystemExit(f"the worker did not finish:\n{worker.log_end()}")
                time.sleep(0.25)
            cpu_s, rss_mb = usage(worker.pid)
        finally:
            worker.stop()
        measured = measure(connection, count)
        connection.execute(f"DROP SCHEMA {schema} CASCADE")
    return {**measured, "batch_size": batch_size, "cpu_us_per_event": round(cpu_s * 1e6 / count, 1), "rss_mb": rss_mb}


def usage(pid: int) -> tuple[float, int]:
    """Return CPU seconds and peak resident megabytes of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    peak = next(
        line for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines() if "VmHWM" in line
    )
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS, int(peak.split()[1]) // 1024


def measure(connection: psycopg.Connection[tuple[Any, ...]], count: int) -> dict[str, Any]:
    """Rates from commit timestamps: all rows, and the second half."""
    query = """
        WITH at AS (SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS s FROM events)
        SELECT count(*), min(s), max(s), percentile_disc(0.5) WITHIN GROUP (ORDER BY s) FROM at"""
    rows, first, last, middle = connection.execute(query).fetchall()[0]
    totals = connection.execute("SELECT total, delivered FROM event_totals").fetchall()[0]
    return {
        "events_per_s": round(rows / (last - first)),
        "second_half_per_s": round(rows / 2 / (last - middle)),
        "exact": totals == (count, rows) and rows == count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--size", type=int, default=360)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    settings = {"track_commit_timestamp": "on", "max_wal_size": "4GB"}
    with (
        EmbeddedKafka(jvm_options=BROKER_JVM) as kafka,
        EmbeddedPostgres(settings=settings) as postgres,
        tempfile.TemporaryDirectory() as folder,
    ):
        fill(kafka.bootstrap_servers, given.events, given.size)
        runs = [
            drain(kafka.bootstrap_servers, postgres.url, given.events, given.batch_size, Path(folder))
            for _ in range(given.runs)
        ]
    for run in runs:
        print(json.dumps(run))
    rates = sorted(run["events_per_s"] for run in runs)
    print(json.dumps({"median_events_per_s": rates[len(rates) // 2], "min": rates[0], "max": rates[-1]}))


if __name__ == "__main__":
    main()
