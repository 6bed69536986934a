"""Batches and records as OpenTelemetry spans. Imported only when tracing is on (extra ``otel``).

The exporter and the sampler are configured by OpenTelemetry's own variables: ``OTEL_EXPORTER_OTLP_ENDPOINT``,
``OTEL_SERVICE_NAME``, ``OTEL_TRACES_SAMPLER``. Names follow the semantic conventions for messaging.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from keepstream.app.config.base import VERSION
from keepstream.processors.partition_queue import Batch
from keepstream.schemas.dead_letter import TRACEPARENT
from keepstream.schemas.outcome import Outcome, OutcomeCounts
from keepstream.schemas.record import Record, header

_PROPAGATOR = TraceContextTextMapPropagator()


class OpenTelemetryTraces:
    """Implements `Traces`: a span per batch with links to every traced record, and a span per traced record.

    A record's span belongs to its producer's trace. A record without a valid ``traceparent`` has no span.
    """

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.version": VERSION}))
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("keepstream", VERSION)

    @contextmanager
    def batch(self, batch: Batch) -> Iterator[Callable[[OutcomeCounts], None]]:
        """Open the spans; they end with the batch, with status error when it was not settled."""
        contexts = [(record, context) for record in batch.records if (context := remote_context(record))]
        links = [Link(trace.get_current_span(context).get_span_context()) for _, context in contexts]
        size = batch.offset_range.records
        attributes: dict[str, str | int] = {**_attributes(batch), "messaging.batch.message_count": size}
        span = self._tracer.start_span(
            f"process {batch.offset_range.topic}", context=trace.set_span_in_context(trace.INVALID_SPAN),
            kind=SpanKind.CONSUMER, attributes=attributes, links=links,
        )  # fmt: skip
        spans = [span, *(self._record_span(batch, span, record, context) for record, context in contexts)]
        try:
            yield lambda counts: _set_counts(span, counts)
        except BaseException as error:
            for one in spans:
                one.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            for one in reversed(spans):
                one.end()

    def close(self) -> None:
        self._provider.shutdown()

    def _record_span(self, batch: Batch, parent: Span, record: Record, context: Context) -> Span:
        attributes: dict[str, str | int] = {**_attributes(batch), "messaging.kafka.offset": record.offset}
        return self._tracer.start_span(
            f"process {record.topic}", context=context, kind=SpanKind.CONSUMER, attributes=attributes,
            links=[Link(parent.get_span_context())],
        )  # fmt: skip


def remote_context(record: Record) -> Context | None:
    """Return the producer's trace context, from the record's last ``traceparent``; None without a valid one."""
    text = header(record, TRACEPARENT)
    if text is None:
        return None
    context = _PROPAGATOR.extract({TRACEPARENT: text, "tracestate": header(record, "tracestate") or ""})
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def _attributes(batch: Batch) -> dict[str, str]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": batch.offset_range.topic,
        "messaging.destination.partition.id": str(batch.offset_range.partition),
    }


def _set_counts(span: Span, counts: OutcomeCounts) -> None:
    for outcome in Outcome:
        span.set_attribute(f"keepstream.{outcome}", getattr(counts, outcome))
