"""Holding a batch while the environment is ill: the partition waits, nothing is dead-lettered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from keepstream.processors.partition_queue import Batch
from keepstream.processors.ports import Metrics
from keepstream.schemas.failure import Failure, SystemicError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pause:
    """Waits between probes of an ill environment: exponential from ``base_s`` up to ``cap_s``, with full jitter."""

    metrics: Metrics
    base_s: float = 0.25
    cap_s: float = 5.0

    async def until_done(self, batch: Batch, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat an attempt while it raises SystemicError. The attempt itself is the probe.

        Raises AbandonedError once the batch's partition is taken away, and whatever else the attempt raises.
        """
        span, tries = batch.span, 0
        try:
            while True:
                batch.check_open()
                try:
                    return await attempt()
                except SystemicError as error:
                    tries += 1
                    self.metrics.paused(span.topic, span.partition, error.failure)
                    batch.check_open(waiting=True)
                    await self._sleep(tries - 1)
        finally:
            if tries:
                self.metrics.resumed(span.topic, span.partition)

    async def wait(self, batch: Batch, failure: Failure) -> None:
        """Wait once at the longest interval: the retries are used up and the environment is to blame."""
        span = batch.span
        self.metrics.paused(span.topic, span.partition, failure)
        try:
            batch.check_open(waiting=True)
            await asyncio.sleep(self.cap_s)
            batch.check_open(waiting=True)
        finally:
            self.metrics.resumed(span.topic, span.partition)

    async def _sleep(self, tries: int) -> None:
        limit_s = min(self.cap_s, self.base_s * 2 ** min(tries, 16))
        await asyncio.sleep(random.uniform(limit_s / 2, limit_s))  # noqa: S311 - jitter, not a secret
