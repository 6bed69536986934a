"""Pausing a partition while its environment is unavailable: its batch waits, no record is dead-lettered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from keepstream.processors.partition_queue import PartitionQueue
from keepstream.processors.ports import Metrics
from keepstream.schemas.failure import Failure, SystemicError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pause:
    """Waits between attempts: exponential backoff from ``base_s`` up to ``cap_s``, with jitter of one half."""

    metrics: Metrics
    base_s: float = 0.25
    cap_s: float = 5.0

    async def retry_until_healthy(self, queue: PartitionQueue, attempt: Callable[[], Awaitable[T]]) -> T:
        """Retry an attempt while it raises SystemicError; the partition is paused meanwhile.

        Raises PartitionRevokedError once the partition is revoked, and any other error of the attempt.
        """
        tries = 0
        try:
            while True:
                queue.check_open()
                try:
                    return await attempt()
                except SystemicError as error:
                    tries += 1
                    self._pause(queue, error.failure)
                    queue.check_open(waiting=True)
                    await self._sleep(tries - 1)
        finally:
            if tries:
                self._resume(queue)

    async def once(self, queue: PartitionQueue, failure: Failure) -> None:
        """Pause for the longest wait: the retries are used up, and the environment caused the failure."""
        try:
            self._pause(queue, failure)
            queue.check_open(waiting=True)
            await asyncio.sleep(self.cap_s)
            queue.check_open(waiting=True)
        finally:
            self._resume(queue)

    def _pause(self, queue: PartitionQueue, failure: Failure) -> None:
        self.metrics.attempt_failed(failure, retried=True)
        if not queue.closed:
            if queue.paused is None:
                self.metrics.paused(queue.topic, queue.partition, failure)
            queue.paused = failure

    def _resume(self, queue: PartitionQueue) -> None:
        if queue.paused:
            queue.paused = None
            self.metrics.resumed(queue.topic, queue.partition)

    async def _sleep(self, tries: int) -> None:
        limit_s = min(self.cap_s, self.base_s * 2 ** min(tries, 16))
        await asyncio.sleep(random.uniform(limit_s / 2, limit_s))  # noqa: S311 - jitter, not a secret
