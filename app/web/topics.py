"""What each topic of a console has of its own: servers, jobs, counts, history, threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from keepstream.app.connect.services import Services
from keepstream.app.dlq.coverage import IndexCoverage
from keepstream.app.status.workers import WorkerScraper
from keepstream.app.web.facets import COUNTS_AT_ONCE, Facets
from keepstream.app.web.masking import Mask
from keepstream.app.web.poller import StatusPoller
from keepstream.app.web.query import Pair, Query, query_of
from keepstream.app.web.replay_jobs import Jobs

P = ParamSpec("P")
T = TypeVar("T")
THREADS = 8
"""Concurrent blocking calls of a topic's pages; each has at most one connection to PostgreSQL and two to Kafka."""


class TopicState:
    """State of the console for one topic. Its threads are its own, so that no topic waits for another one's PostgreSQL.

    ``parameter`` is what URLs name it by: its name, or "" where it is the only one.
    """

    def __init__(self, services: Services, mask: Mask, parameter: str, workers: WorkerScraper) -> None:
        self.services, self.settings = services, services.settings
        self.mask, self.parameter = mask, parameter
        self._threads = ThreadPoolExecutor(THREADS, "console")
        self._background = ThreadPoolExecutor(1 + COUNTS_AT_ONCE, "background")
        self.jobs = Jobs(services, mask)
        self.facets = Facets(services, self._background)
        self.coverage = IndexCoverage()
        self.poller = StatusPoller(services, self._background, workers)

    @property
    def name(self) -> str:
        return self.settings.kafka.topic

    @property
    def option(self) -> str:
        """The option of a command that names this topic, and a blank; "" where it is the only one."""
        return f"--topic={self.parameter} " if self.parameter else ""

    def query(self, given: Iterable[Pair]) -> Query:
        """Parse selectors of this topic's dead letters. Raises `KeepstreamError`."""
        return query_of(given, self.mask, self.parameter)

    async def blocking(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(*args, **kwargs))

    def close(self) -> None:
        self.jobs.join()
        for threads in (self._threads, self._background):
            threads.shutdown(wait=False, cancel_futures=True)
