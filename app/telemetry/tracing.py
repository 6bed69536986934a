"""Interface of tracing, and its no-op implementation for a worker without the extra ``otel``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from keepstream.app.config.settings import TracesSettings
from keepstream.processors.partition_queue import Batch
from keepstream.schemas.outcome import OutcomeCounts


class Traces(Protocol):
    """Records batches as spans."""

    def batch(self, batch: Batch) -> AbstractContextManager[Callable[[OutcomeCounts], None]]:
        """Open the spans of a batch; the returned callable records its outcome counts before they end."""
        ...

    def close(self) -> None:
        """Send the spans that are still buffered."""
        ...


class NoTraces:
    """Tracing that is off: no span, no import of OpenTelemetry."""

    _nothing: AbstractContextManager[Callable[[OutcomeCounts], None]] = nullcontext(lambda _counts: None)

    def batch(self, batch: Batch) -> AbstractContextManager[Callable[[OutcomeCounts], None]]:  # noqa: ARG002
        return self._nothing

    def close(self) -> None:
        """Do nothing."""


NO_TRACES = NoTraces()


def traces_of(settings: TracesSettings) -> Traces:
    """Return the tracing that the settings select. Raises ImportError when the extra ``otel`` is not installed."""
    if not settings.enabled:
        return NO_TRACES
    from keepstream.app.telemetry.otel import OpenTelemetryTraces  # noqa: PLC0415 - an extra; its import takes 1 s

    return OpenTelemetryTraces()
