"""Apache Kafka's jars on disk: what is missing is fetched once, by one process at a time."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from keepstream.app.embedded.cache import cache_root, exclusive
from keepstream.app.embedded.errors import KAFKA_HINT, EmbeddedUnavailableError
from keepstream.app.embedded.fetch import PART, Fetcher
from keepstream.app.embedded.pins import KAFKA_VERSION, Pin, load_pins

if TYPE_CHECKING:
    from collections.abc import Callable

DOWNLOAD_TIMEOUT_S = 900.0
PARALLEL_DOWNLOADS = 6
_WAITING = "Waiting for another process that downloads Apache Kafka"
_STAGING = ".download-"
_MB = 1_000_000


def jar_folder() -> Path:
    return cache_root() / f"kafka-{KAFKA_VERSION}"


def kafka_classpath(progress: Callable[[str], None]) -> str:
    """Give the Java class path of Kafka's broker and console tools, downloading what is missing.

    Safe in several processes at once. Touches no network when every jar is there.
    Raises EmbeddedUnavailableError.
    """
    folder, pins = jar_folder(), load_pins()
    try:
        if _missing(pins, folder):
            with exclusive(folder, timeout_s=DOWNLOAD_TIMEOUT_S, waiting=lambda: progress(_WAITING)):
                _fetch_all(_missing(pins, folder), folder, progress)
    except EmbeddedUnavailableError:
        raise
    except (OSError, RuntimeError) as error:
        hint = f"check the network, HTTPS_PROXY and jgo's repositories, or {KAFKA_HINT}"
        raise EmbeddedUnavailableError(PART, f"{type(error).__name__}: {error}", hint) from error
    return ":".join(str(folder / pin.file_name) for pin in pins)


def _missing(pins: tuple[Pin, ...], folder: Path) -> list[Pin]:
    """List the absent ones, largest first, so that progress is steady at the end."""
    absent = [pin for pin in pins if not pin.present_in(folder)]
    return sorted(absent, key=lambda pin: -pin.size_bytes)


def _fetch_all(pins: list[Pin], folder: Path, progress: Callable[[str], None]) -> None:
    for leftover in folder.glob(f"{_STAGING}*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=_STAGING) as staging,
        ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool,
    ):
        fetch = Fetcher(Path(staging), folder)
        try:
            _await_all({pool.submit(fetch, pin): pin.size_bytes for pin in pins}, progress)
        finally:  # also on Ctrl-C: the pool's end waits for downloads that have begun
            fetch.cancelled.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _await_all(size_bytes: dict[Future[None], int], progress: Callable[[str], None]) -> None:
    total_mb, done_bytes, shown = sum(size_bytes.values()) / _MB, 0, ""
    progress(f"Downloading Apache Kafka {KAFKA_VERSION}, once: {total_mb:.0f} MB")
    for future in as_completed(size_bytes, timeout=DOWNLOAD_TIMEOUT_S):
        future.result()
        done_bytes += size_bytes[future]
        line = f"Downloading Apache Kafka: {done_bytes / _MB:.0f} of {total_mb:.0f} MB"
        if line != shown:
            progress(shown := line)
