"""How long the console's list of dead letters takes to answer with 1,000,000 of them.

    .venv/bin/python -m benchmarks.web_list [LETTERS] [PARTITIONS]

Uses KEEPSTREAM_TEST_BOOTSTRAP_SERVERS and KEEPSTREAM_TEST_POSTGRES_URL where they are given, else embedded services.
The goal is 200 ms for any page of the list, whatever the topic holds.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.dlq_list import FAILURE, START, fill
from schemas.failure import Failure, Step, Verdict
from tests.acceptance.console import ConsoleProcess, console
from tests.real import Kafka, Postgres, start_servers

if TYPE_CHECKING:
    from tests.real import Database

RUNS = 15
RARE = Failure(Step.VALIDATE, Verdict.RECORD, "schema_invalid", "payload: no object")
RARE_EVERY = 100_000
_LEDGER = """
INSERT INTO dead_letters (topic, partition, "offset", event_id, step, verdict, reason, message, sqlstate, attempts,
                          first_failed_at, last_failed_at)
SELECT 'events', n %% 8, n / 8, 'e-' || n, CASE WHEN n %% %(rare)s = 7 THEN 'validate' ELSE 'store' END, 'record',
       CASE WHEN n %% %(rare)s = 7 THEN 'schema_invalid' ELSE 'check_violation' END, 'no', '23514', 1, at, at
FROM (SELECT n, %(start)s::timestamptz + n * interval '1 second' AS at FROM generate_series(0, %(last)s) n) deaths"""


def main(letters: int = 1_000_000, partitions: int = 1) -> None:
    with start_servers() as servers:
        assert not isinstance(servers, str), servers
        kafka = Kafka(servers.bootstrap_servers)
        topic = kafka.new_topic(partitions, "event-dlq", {"retention.ms": "-1"})
        print(f"filling {topic} with {letters:,} dead letters", flush=True)
        fill(kafka.bootstrap_servers, topic, letters, partitions, why)
        with Postgres(servers.postgres_url).new_schema() as database:
            remember(database, letters)
            environment = {
                "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
                "KEEPSTREAM_KAFKA__TOPIC": kafka.new_topic(8),
                "KEEPSTREAM_KAFKA__DLQ_TOPIC": topic,
                "KEEPSTREAM_POSTGRES__URL": database.url,
                "KEEPSTREAM_POSTGRES__SCHEMA_NAME": database.schema,
            }
            with console(environment) as running:
                time.sleep(3)
                middle = "_".join(f"{p}.{letters // partitions // 2}" for p in range(partitions))
                measure(running, "newest", "/dead-letters")
                measure(running, "from the middle", f"/dead-letters?before={middle}")
                measure(running, "common reason", "/dead-letters?reason=check_violation")
                measure(running, "an event id", f"/dead-letters?event-id=e-{letters // 2}", goal_ms=2000)
                measure(
                    running, f"rare reason (1 of {RARE_EVERY:,})", "/dead-letters?reason=schema_invalid", goal_ms=2000
                )
                measure(running, "one letter", f"/dead-letter?id={topic}-0-{letters // partitions // 2}")


def why(number: int) -> Failure:
    return RARE if number % RARE_EVERY == 7 else FAILURE


def remember(database: Database, letters: int) -> None:
    with database.connect() as connection:
        connection.execute(_LEDGER, {"rare": RARE_EVERY, "start": START, "last": letters - 1})
        connection.execute("ANALYZE dead_letters")


def measure(running: ConsoleProcess, what: str, path: str, goal_ms: float = 200) -> None:
    took, page = [], running.get(path)
    assert page.status == 200, page.text
    for _ in range(RUNS):
        began = time.perf_counter()
        page = running.get(path)
        took.append((time.perf_counter() - began) * 1000)
    rows, median = page.text.count('class="pick"'), statistics.median(took)
    verdict = "ok" if median <= goal_ms else f"slower than {goal_ms:.0f} ms"
    print(f"{what:<32} {rows:>3} rows  median {median:>5.0f} ms  max {max(took):>5.0f} ms  {verdict}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
