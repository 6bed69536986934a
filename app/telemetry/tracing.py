"""Tracing as the worker sees it; without the extra ``otel`` and its setting there is nothing behind it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from keepstream.app.config.settings import TracesSettings
from keepstream.processors.partition_queue import Batch
from keepstream.schemas.outcome import OutcomeCounts


class Traces(Protocol):
    """Who is told of batches as spans."""

    def batch(self, batch: Batch) -> AbstractContextManager[Callable[[OutcomeCounts], None]]:
        """Open the spans of a batch; the callable takes what became of it, before they end."""
        ...

    def close(self) -> None:
        """Send what is not sent yet."""
        ...


class NoTraces:
    """Tracing switched off: one object made once, no span, no import of OpenTelemetry."""

    _nothing: AbstractContextManager[Callable[[OutcomeCounts], None]] = nullcontext(lambda _tally: None)

    def batch(self, batch: Batch) -> AbstractContextManager[Callable[[OutcomeCounts], None]]:  # noqa: ARG002
        return self._nothing

    def close(self) -> None:
        """Do nothing."""


NO_TRACES = NoTraces()


def traces_of(settings: TracesSettings) -> Traces:
    """Build what the settings ask for. Raises ImportError when the extra ``otel`` is not installed."""
    if not settings.enabled:
        return NO_TRACES
    from keepstream.app.telemetry.otel import OpenTelemetryTraces  # noqa: PLC0415 - costs a second, and only who asks for it has it

    return OpenTelemetryTraces.from_environment()
