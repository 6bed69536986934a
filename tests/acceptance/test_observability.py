"""What somebody who watches a worker sees from outside: health on bad days, logs without secrets, traces that go on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from keepstream.schemas.record import header
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.real import Kafka, Postgres, Servers, eventually

pytestmark = pytest.mark.real

CANARY = "c4nary-in-a-record"
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01".encode()


@pytest.fixture
def own_system(own_servers: Servers, tmp_path: Path) -> Iterator[System]:
    """A system on servers that the test may stop."""
    with Postgres(own_servers.postgres_url).new_schema() as database:
        system = System(Kafka(own_servers.bootstrap_servers), database, tmp_path, partitions=2)
        yield system
        system.stop()


def test_without_traffic_readyz_names_the_part_that_is_missing_and_livez_stays(
    own_servers: Servers, own_system: System
) -> None:
    assert own_servers.postgres
    assert own_servers.kafka
    worker = own_system.start_worker(KEEPSTREAM_POSTGRES__CONNECT_TIMEOUT_S="2")
    eventually(lambda: worker.get("/readyz")[0] == 200, 60)
    own_servers.postgres.stop(keep_data=True)
    eventually(lambda: "PostgreSQL: it does not answer" in worker.get("/readyz")[1], 40)
    assert worker.get("/livez")[0] == 200
    own_servers.postgres.start()
    eventually(lambda: worker.get("/readyz")[0] == 200, 40)
    own_servers.kafka.stop(keep_data=True)
    eventually(lambda: "Kafka: it does not answer" in worker.get("/readyz")[1], 40)
    assert worker.get("/livez")[0] == 200
    own_servers.kafka.start()
    eventually(lambda: worker.get("/readyz")[0] == 200, 60)


def test_a_worker_beyond_the_partitions_is_ready_and_takes_over(new_system: Callable[..., System]) -> None:
    """A rolling change starts the next worker before it ends the last: it would wait for ever for one that is ready."""
    system = new_system(partitions=1)
    workers = [system.start_worker() for _ in range(3)]
    eventually(lambda: all(worker.get("/readyz")[0] == 200 for worker in workers), 60, "all are ready")
    owner = max(workers, key=lambda worker: worker.metric("keepstream_assigned_partitions"))
    assert owner.process.stop() == 0
    system.produce(make_value() for _ in range(10))
    system.settled(10)
    system.assert_consistent()


def test_a_rebalance_does_not_cost_a_life(new_system: Callable[..., System]) -> None:
    system = new_system(partitions=4)
    first = system.start_worker()
    eventually(lambda: first.get("/readyz")[0] == 200, 60)
    lives: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            lives.append(first.get("/livez")[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    second = system.start_worker()
    eventually(lambda: second.metric("keepstream_assigned_partitions") == 2, 60)
    assert second.process.stop() == 0
    eventually(lambda: first.metric("keepstream_assigned_partitions") == 4, 60)
    done.set()
    watcher.join()
    assert set(lives) == {200}


def test_no_secret_and_no_record_is_in_logs_metrics_or_answers(system: System) -> None:
    """Canaries in the password, in keys, values and headers; bad records on every path; all output is searched."""
    password = "c4nary-in-the-url"  # noqa: S105
    url = system.database.url.replace("postgresql://", "").partition("@")
    user = url[0].partition(":")[0]
    system.database.execute("ALTER TABLE events ADD CONSTRAINT small CHECK (length(payload ->> 'text') < 30)")
    wrong = system.start_worker(KEEPSTREAM_POSTGRES__URL=f"postgresql://{user}:{password}@{url[2]}",
                                KEEPSTREAM_LOG__LEVEL="debug")  # fmt: skip
    eventually(lambda: "PostgreSQL" in wrong.get("/readyz")[1], 60)
    seen = [*wrong.get("/readyz"), *wrong.get("/metrics")]
    wrong.process.kill()
    bad = [
        b'{"event_id": "%s", "payload": 1}' % CANARY.encode(),
        CANARY.encode(),
        b'{"payload": {}, "x": "%s"' % CANARY.encode(),
    ]
    good = [make_value(payload={"text": CANARY}), make_value(payload={"text": CANARY * 9})]
    worker = system.start_worker(KEEPSTREAM_LOG__LEVEL="debug")
    system.produce([*bad, *good], key=CANARY.encode(), headers=[("h", CANARY.encode())])
    system.settled(5)
    seen += [*worker.get("/readyz"), *worker.get("/livez"), *worker.get("/metrics")]
    assert worker.process.stop() == 0
    for log in (wrong.process.log_path, worker.process.log_path):
        text = log.read_text()
        assert len(text.splitlines()) > 5
        assert all(json.loads(line)["event"] for line in text.splitlines())
        assert password not in text
        # An event_id is an identifier and belongs into the line of its dead letter; nothing else of a record does.
        assert CANARY not in text.replace(f'"event_id": "{CANARY}"', "").replace(f'"correlation_id": "{CANARY}"', "")
    assert CANARY not in str(seen)
    assert password not in str(seen)


def test_each_batch_and_each_dead_letter_has_its_line(system: System) -> None:
    worker = system.start_worker(KEEPSTREAM_LOG__LEVEL="debug")
    system.produce([make_value(), b"broken", make_value()])
    system.settled(3)
    eventually(lambda: any(line["event"] == "batch settled" for line in worker.log()), 10)
    lines = worker.log()
    letter = next(line for line in lines if line["event"] == "dead letter")
    assert (letter["topic"], letter["partition"], letter["offset"]) == (system.topic, 0, 1)
    assert (letter["step"], letter["reason"], letter["attempts"], letter["level"]) == (
        "validate",
        "invalid_json",
        1,
        "warning",
    )
    assert {"correlation_id", "duration_s", "verdict", "sqlstate"} <= letter.keys()
    batches = [line for line in lines if line["event"] == "batch settled"]
    assert sum(line["records"] for line in batches) == 3
    assert all({"topic", "partition", "offset", "last_offset", "duration_s"} <= line.keys() for line in batches)


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """An OpenTelemetry collector on loopback: its address, and the spans it got."""
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = ExportTraceServiceRequest.FromString(body)
            spans.extend(s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", spans
    server.shutdown()
    server.server_close()


def test_a_producers_trace_continues_in_its_dead_letter_and_replay(
    system: System, collector: tuple[str, list[Any]]
) -> None:
    url, spans = collector
    system.database.execute("ALTER TABLE events ADD CONSTRAINT cheap CHECK ((payload ->> 'amount')::int < 100)")
    worker = system.start_worker(
        KEEPSTREAM_TRACES__ENABLED="true", OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="200",
        OTEL_EXPORTER_OTLP_COMPRESSION="none",
    )  # fmt: skip
    early = (b"traceparent", b"00-%032x-%016x-01" % (1, 1))
    system.produce([make_value(payload={"amount": 1000})],
                   headers=[("traceparent", early[1]), ("a", b"1"), ("traceparent", TRACEPARENT)])  # fmt: skip
    system.settled(1)
    (letter,) = system.dead().values()
    assert [value for name, value in letter.headers if name == "traceparent"] == [TRACEPARENT]
    system.database.execute("ALTER TABLE events DROP CONSTRAINT cheap")
    system.cli("dlq", "replay", "--include-resolved", "--yes", "--wait")
    replayed = system.kafka.read(system.topic)[-1]
    assert [value for name, value in replayed.headers if name == "traceparent"] == [TRACEPARENT]
    assert header(replayed, "keepstream.dlq.replay-count") == "1"
    eventually(lambda: len([span for span in spans if span.trace_id.hex() == TRACE]) == 2, 20, "two spans in its trace")
    assert worker.process.stop() == 0
    mine = [span for span in spans if span.trace_id.hex() == TRACE]
    assert {span.parent_span_id.hex() for span in mine} == {"b7ad6b7169203331"}
    batches = [span for span in spans if span.trace_id.hex() != TRACE]
    assert sorted(link.trace_id.hex() for batch in batches for link in batch.links) == [TRACE, TRACE]
