"""How long the console's list of dead letters takes to answer with 1,000,000 of them.

    .venv/bin/python -m benchmarks.web_list [LETTERS] [PARTITIONS]

Uses KEEPSTREAM_TEST_BOOTSTRAP_SERVERS and KEEPSTREAM_TEST_POSTGRES_URL where they are given, else embedded services.
The goal is 200 ms for any page of the list that PostgreSQL can name, whatever the topic holds.
"""

from __future__ import annotations

import statistics
import sys
import time
from datetime import timedelta
from urllib.parse import quote

from benchmarks.dlq_list import FAILURE, START, fill
from keepstream.app.dlq.page import Cursor
from keepstream.app.web.query import cursor_text
from keepstream.schemas.failure import Failure, Step, Verdict
from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from keepstream.sinks.postgres.dead_letters import DeadLetterKey
from tests.acceptance.console import ConsoleProcess, console
from tests.real import Database, Kafka, Postgres, start_servers

RUNS, GOAL_MS = 15, 200
RARE = Failure(Step.VALIDATE, Verdict.RECORD, "schema_invalid", "payload: no object")
RARE_EVERY = 100_000
_LEDGER = """
INSERT INTO dead_letters (topic, partition, "offset", event_id, step, verdict, reason, message, sqlstate, attempts,
                          first_failed_at, last_failed_at, place)
SELECT 'events', n %% 8, n / 8, 'e-' || n, CASE WHEN n %% %(rare)s = 7 THEN 'validate' ELSE 'store' END, 'record',
       CASE WHEN n %% %(rare)s = 7 THEN 'schema_invalid' ELSE 'check_violation' END, 'no', '23514', 1, at, at,
       %(topic)s || '-' || n %% %(partitions)s || '-' || n / %(partitions)s
FROM (SELECT n, %(start)s::timestamptz + n * interval '1 second' AS at FROM generate_series(0, %(last)s) n) deaths"""


def main(letters: int = 1_000_000, partitions: int = 1) -> None:
    with start_servers() as servers:
        assert not isinstance(servers, str), servers
        kafka = Kafka(servers.bootstrap_servers)
        topic = kafka.new_topic(partitions, "event-dlq", DEAD_LETTER_TOPIC_CONFIG)
        print(f"filling {topic} with {letters:,} dead letters", flush=True)
        fill(kafka.bootstrap_servers, topic, letters, partitions, why)
        with Postgres(servers.postgres_url).new_schema() as database:
            remember(database, letters, topic, partitions)
            environment = {
                "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
                "KEEPSTREAM_KAFKA__TOPIC": kafka.new_topic(8),
                "KEEPSTREAM_KAFKA__DLQ_TOPIC": topic,
                "KEEPSTREAM_POSTGRES__URL": database.url,
                "KEEPSTREAM_POSTGRES__SCHEMA_NAME": database.schema,
            }
            with console(environment) as running:
                time.sleep(3)
                for what, path in paths(topic, letters, partitions).items():
                    measure(running, what, path)


def paths(topic: str, letters: int, partitions: int) -> dict[str, str]:
    """Return the pages that are asked for; the letters died one a second, from `START` on."""
    middle = letters // 2
    ends = dict.fromkeys(range(partitions), middle // partitions)
    before = DeadLetterKey(START + timedelta(seconds=middle), f"events-{middle % 8}-{middle // 8}")
    cursor = quote(cursor_text(Cursor(ends, before)))
    since, until = (quote((START + timedelta(seconds=at)).isoformat()) for at in (middle - 1000, middle))
    return {
        "newest 50": "/dead-letters",
        "50 from the middle": f"/dead-letters?before={cursor}",
        "a common reason": "/dead-letters?reason=check_violation",
        f"a reason that 1 of {RARE_EVERY:,} has": "/dead-letters?reason=schema_invalid",
        "a rare step": "/dead-letters?step=validate",
        "an SQLSTATE": "/dead-letters?sqlstate=23514",
        "a reason that none has": "/dead-letters?reason=nonesuch",
        "between two times": f"/dead-letters?since={since}&until={until}",
        "a rare reason before a time": f"/dead-letters?reason=schema_invalid&until={until}",
        "an event id": f"/dead-letters?event-id=e-{middle}",
        "an event id that none has": "/dead-letters?event-id=none",
        "one letter by its place": f"/dead-letter?id={topic}-0-{middle // partitions}",
        "one letter by its id": f"/dead-letter?id=events-{middle % 8}-{middle // 8}",
        "one letter by its event": f"/dead-letter?id=e-{middle}",
    }


def why(number: int) -> Failure:
    return RARE if number % RARE_EVERY == 7 else FAILURE


def remember(database: Database, letters: int, topic: str, partitions: int) -> None:
    with database.connect() as connection:
        given = {"rare": RARE_EVERY, "start": START, "last": letters - 1, "topic": topic, "partitions": partitions}
        connection.execute(_LEDGER, given)
        connection.execute("ANALYZE dead_letters")


def measure(running: ConsoleProcess, what: str, path: str) -> None:
    took, page = [], running.get(path)
    assert page.status == 200, page.text
    for _ in range(RUNS):
        began = time.perf_counter()
        page = running.get(path)
        took.append((time.perf_counter() - began) * 1000)
    rows, median = page.text.count('class="pick"'), statistics.median(took)
    said = f"fastest {min(took):>5.0f} ms  median {median:>5.0f} ms  slowest {max(took):>5.0f} ms"
    verdict = "ok" if median <= GOAL_MS else f"slower than {GOAL_MS} ms"
    print(f"{what:<34} {rows:>3} rows  {said}  {verdict}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
