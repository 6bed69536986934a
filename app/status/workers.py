"""Metrics and readiness of the workers, scraped for `keepstream status` and the console."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from keepstream.sinks.prometheus import catalogue

SCRAPE_TIMEOUT_S, SCRAPE_MAX_BYTES = 1.5, 2 * 1024 * 1024
_READY = (200, 503)


@dataclass(frozen=True, slots=True)
class WorkerMetrics:
    """Sums over the workers that answered; void when none did. Counters start with the process."""

    answered: int = 0
    asked: int = 0
    paused: int = 0
    """Partitions paused by a systemic failure."""
    retries: int = 0
    received: int = 0
    processed: int = 0
    failures: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """(step, verdict, reason) -> failed attempts; without zeros."""
    lag: Mapping[int, int] = field(default_factory=dict)
    """Partition -> records, as last reported by its owner."""
    oldest_unsettled_s: float | None = None
    """Kafka timestamp of the oldest record in memory, in Unix seconds; the time of the scrape without one."""
    not_ready: Mapping[str, str] = field(default_factory=dict)
    """Worker address -> response of ``/readyz``: missing parts, and why partitions are paused."""


@dataclass(frozen=True, slots=True)
class _Scrape:
    answered: int = 0
    samples: Sequence[tuple[str, Sample]] = ()
    not_ready: Mapping[str, str] = field(default_factory=dict)


class WorkerScraper:
    """Scrapes the workers; what is younger than ``max_age_s`` is not asked for again, for readers of several topics.

    ``urls`` are those of their metrics, ``/readyz`` is beside them. Threads may share it.
    """

    def __init__(self, urls: Sequence[str], max_age_s: float = 0.0) -> None:
        self._urls, self._max_age_s = urls, max_age_s
        self._lock = threading.Lock()
        self._scraped, self._ends_at = _Scrape(), float("-inf")

    def read(self, topic: str) -> WorkerMetrics:
        """Return the metrics of a topic. Blocks."""
        asked = len(self._urls)
        try:
            found = self._latest()
            return _sums(found.samples, found.answered, asked, topic, found.not_ready)
        except ValueError:  # no exposition: another server listens there
            return WorkerMetrics(asked=asked)

    def _latest(self) -> _Scrape:
        with self._lock:
            if time.monotonic() >= self._ends_at:
                self._scraped = asyncio.run(_scrape(self._urls))
                self._ends_at = time.monotonic() + self._max_age_s
            return self._scraped


async def _scrape(urls: Sequence[str]) -> _Scrape:
    """Scrape all workers concurrently."""
    async with aiohttp.ClientSession() as session:
        texts = await asyncio.gather(*(_get(session, url, (200,)) for url in urls))
        verdicts = await asyncio.gather(*(_get(session, _beside(url, "/readyz"), _READY) for url in urls))
    not_ready = {
        urlsplit(url).netloc.rpartition("@")[2]: why.strip()
        for url, why in zip(urls, verdicts, strict=True)
        if why and why.strip() != "ready"
    }
    answers = [text for text in texts if text is not None]
    return _Scrape(len(answers), [*_samples(answers)], not_ready)


def workers_of(
    texts: Sequence[str], asked: int, topic: str, not_ready: Mapping[str, str] | None = None
) -> WorkerMetrics:
    """Sum expositions."""
    return _sums(_samples(texts), len(texts), asked, topic, not_ready or {})


def _sums(
    samples: Iterable[tuple[str, Sample]], answered: int, asked: int, topic: str, not_ready: Mapping[str, str]
) -> WorkerMetrics:
    """Sum samples. When two workers report the same partition, as in a rebalance, the smaller lag is right."""
    sums: Counter[str] = Counter()
    failures: Counter[tuple[str, str, str]] = Counter()
    lag: dict[int, int] = {}
    oldest: list[float] = []
    for name, sample in samples:
        labels, value = sample.labels, sample.value
        if labels.get("topic", topic) != topic:
            continue
        if name == catalogue.LAG.family:
            lag[int(labels["partition"])] = min(int(value), lag.get(int(labels["partition"]), int(value)))
        elif name == catalogue.OLDEST_UNSETTLED.family:
            oldest.append(value)
        elif name == catalogue.STEP_FAILURES.family and value:
            failures[labels["step"], labels["verdict"], labels["reason"]] += int(value)
        else:
            sums[name] += int(value)
    return WorkerMetrics(
        answered, asked, sums[catalogue.PAUSED.family], sums[catalogue.STEP_RETRIES.family],
        sums[catalogue.RECEIVED.family], sums[catalogue.PROCESSED.family], failures, lag, min(oldest, default=None),
        not_ready,
    )  # fmt: skip


_WANTED = {
    metric.family
    for metric in (
        catalogue.PAUSED, catalogue.STEP_RETRIES, catalogue.RECEIVED, catalogue.PROCESSED, catalogue.STEP_FAILURES,
        catalogue.LAG, catalogue.OLDEST_UNSETTLED,
    )
}  # fmt: skip


def _samples(texts: Sequence[str]) -> Iterator[tuple[str, Sample]]:
    for text in texts:
        for family in text_string_to_metric_families(text):
            if family.name in _WANTED:
                yield from ((family.name, s) for s in family.samples if not s.name.endswith("_created"))


def _beside(url: str, path: str) -> str:
    parts = urlsplit(url)
    base = parts.path.rpartition("/")[0]  # a proxy may serve several workers below different paths
    return urlunsplit((parts.scheme, parts.netloc, base + path, "", ""))


async def _get(session: aiohttp.ClientSession, url: str, statuses: Sequence[int]) -> str | None:
    try:
        timeout = aiohttp.ClientTimeout(total=SCRAPE_TIMEOUT_S)
        async with session.get(url, allow_redirects=False, timeout=timeout) as answer:
            if answer.status not in statuses:
                return None
            body = bytearray()  # one read returns what has arrived, not the whole body
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > SCRAPE_MAX_BYTES:
                    return None
            return body.decode()
    except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError):
        return None
