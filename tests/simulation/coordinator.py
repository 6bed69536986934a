"""What aiokafka's client knows of its membership in the group, with its gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import InconsistentGroupProtocolError, KafkaError

import keepstream.app.worker.consumer

HEARTBEAT_S = 3.0


class Coordinator:
    """`aiokafka.consumer.group_coordinator.GroupCoordinator`, as far as the product looks into it.

    A join that was refused is not tried again before the error was taken. A client that fetched nothing for
    ``max_poll_interval_ms`` leaves, and joins again only once it fetches.
    """

    @dataclass(frozen=True, slots=True)
    class Client:
        """As `aiokafka.AIOKafkaConsumer`."""

        _coordinator: Coordinator

    def __init__(
        self, loop: asyncio.AbstractEventLoop, join: Callable[[], object], leave: Callable[[], object]
    ) -> None:
        self.generation = -1
        self.is_stuck = False
        """Whether it will never join again, whatever happens."""
        self._loop, self._join, self._leave = loop, join, leave
        self._error: KafkaError | None = None
        self._is_fetching, self._idle_since = False, loop.time()
        self._coordination_task: asyncio.Future[Any] = loop.create_future()
        self._rejoin_needed_fut: asyncio.Future[None] = loop.create_future()

    @property
    def may_join(self) -> bool:
        return not (self.is_stuck or self._error or self._is_idle())

    def joined(self, generation: int) -> None:
        self.generation, self._rejoin_needed_fut = generation, self._loop.create_future()

    def refused(self) -> None:
        """Keep the error until somebody takes it."""
        self.request_rejoin_only()
        self._error = InconsistentGroupProtocolError()

    def lost(self) -> None:
        """Forget a membership that is gone."""
        self.generation = -1
        self.request_rejoin_only()

    def check_errors(self) -> None:
        error, self._error = self._error, None
        if error:
            raise error

    def request_rejoin(self) -> None:
        self.request_rejoin_only()
        self._join()

    def request_rejoin_only(self) -> None:
        if not self._rejoin_needed_fut.done():
            self._rejoin_needed_fut.set_result(None)

    def fetches(self, *, anything: bool) -> None:
        """Note whether the client fetches from now on."""
        if self._is_fetching and not anything:
            self._idle_since = self._loop.time()
        self._is_fetching = anything

    async def beat(self) -> None:
        """Leave the group when the client is idle for too long, at one of the heartbeats."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if self.generation > 0 and self._is_idle():
                self._leave()

    def _is_idle(self) -> bool:
        idle_s = 0.0 if self._is_fetching else self._loop.time() - self._idle_since
        return idle_s * 1000 > keepstream.app.worker.consumer.MAX_POLL_INTERVAL_MS
