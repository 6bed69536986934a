"""Spans of batches and records."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from keepstream.app.config.settings import TracesSettings
from keepstream.app.telemetry.otel import OpenTelemetryTraces
from keepstream.app.telemetry.tracing import NO_TRACES, traces_of
from keepstream.schemas.failure import FencedError
from keepstream.schemas.outcome import BatchRange, OutcomeCounts
from keepstream.schemas.record import Record
from tests.builders import make_record

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()
OTHER_TRACE = "1bf7651916cd43dd8448eb211c80319c"


class FakeBatch:
    """The two things of a batch that tracing looks at."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.offset_range = BatchRange("events", 3, 0, len(records), len(records))


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Where spans end up."""
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    return InMemorySpanExporter()


@pytest.fixture
def traces(exporter: InMemorySpanExporter) -> OpenTelemetryTraces:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    from keepstream.app.telemetry.otel import OpenTelemetryTraces

    return OpenTelemetryTraces(SimpleSpanProcessor(exporter))


def spans_of(traces: OpenTelemetryTraces, exporter: InMemorySpanExporter, *headers: Any) -> tuple[ReadableSpan, ...]:
    batch: Any = FakeBatch([make_record(headers=list(given)) for given in headers])
    with traces.batch(batch) as done:
        done(OutcomeCounts(delivered=len(headers)))
    return exporter.get_finished_spans()


def test_a_batch_span_links_to_every_traced_record(traces: Any, exporter: InMemorySpanExporter) -> None:
    other = f"00-{OTHER_TRACE}-{SPAN}-01".encode()
    *_, batch = spans_of(traces, exporter, [("traceparent", PARENT)], [], [("traceparent", other)])
    assert [f"{link.context.trace_id:032x}" for link in batch.links] == [TRACE, OTHER_TRACE]
    assert batch.parent is None
    assert batch.kind.name == "CONSUMER"
    assert batch.attributes is not None
    assert batch.attributes["messaging.batch.message_count"] == 3
    assert batch.attributes["keepstream.delivered"] == 3


def test_each_traced_record_has_one_span_in_its_own_trace(traces: Any, exporter: InMemorySpanExporter) -> None:
    record, batch = spans_of(traces, exporter, [("traceparent", PARENT)], [])
    assert record.parent is not None
    assert record.context is not None
    assert (f"{record.parent.trace_id:032x}", f"{record.parent.span_id:016x}") == (TRACE, SPAN)
    assert f"{record.context.trace_id:032x}" == TRACE
    assert [link.context for link in record.links] == [batch.context]


@pytest.mark.parametrize("header", [b"", b"rubbish", b"00-0-0-00", PARENT[:-3], b"\xff\xfe", None])
def test_a_traceparent_that_is_none_makes_no_span(
    header: bytes | None, traces: Any, exporter: InMemorySpanExporter
) -> None:
    (batch,) = spans_of(traces, exporter, [("traceparent", header)])
    assert not batch.links


def test_of_several_traceparents_the_last_counts(traces: Any, exporter: InMemorySpanExporter) -> None:
    first = f"00-{OTHER_TRACE}-{SPAN}-01".encode()
    record, _ = spans_of(traces, exporter, [("traceparent", first), ("traceparent", PARENT)])
    assert record.context is not None
    assert f"{record.context.trace_id:032x}" == TRACE


def test_a_producer_that_does_not_sample_is_not_sampled_here(traces: Any, exporter: InMemorySpanExporter) -> None:
    assert len(spans_of(traces, exporter, [("traceparent", PARENT[:-2] + b"00")])) == 1


def test_a_batch_that_is_not_settled_ends_its_spans_in_error(traces: Any, exporter: InMemorySpanExporter) -> None:
    batch: Any = FakeBatch([make_record(headers=[("traceparent", PARENT)])])
    with pytest.raises(FencedError), traces.batch(batch):
        raise FencedError("events", 3, 0)
    assert [(span.status.status_code.name, span.status.description) for span in exporter.get_finished_spans()] == [
        ("ERROR", "FencedError"), ("ERROR", "FencedError"),
    ]  # fmt: skip


def test_no_value_key_or_header_of_a_record_gets_into_a_span(traces: Any, exporter: InMemorySpanExporter) -> None:
    batch: Any = FakeBatch(
        [make_record(value=b"c4nary", key=b"c4nary", headers=[("traceparent", PARENT), ("h", b"c4nary")])]
    )
    with traces.batch(batch):
        pass
    assert all("c4nary" not in span.to_json() for span in exporter.get_finished_spans())


def test_off_is_one_object_that_does_nothing() -> None:
    assert traces_of(TracesSettings()) is NO_TRACES
    batch: Any = FakeBatch([make_record()])
    assert NO_TRACES.batch(batch) is NO_TRACES.batch(batch)


def test_off_imports_nothing_of_opentelemetry() -> None:
    code = "import keepstream.app.worker.run, sys; print([n for n in sys.modules if n.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
