"""The jars of Apache Kafka in a cache on disk: missing ones are downloaded once, by one process at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from keepstream.app.embedded.errors import KAFKA_HINT, EmbeddedUnavailableError, missing_extra

KAFKA_VERSION = "4.4.0"
PIN_FILE = Path(__file__).with_name("kafka-jars.txt")


@dataclass(frozen=True)
class Pin:
    """One jar: Maven coordinate, size in bytes, sha256 in hex."""

    group: str
    artifact: str
    version: str
    size_bytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def repository_path(self) -> Path:
        """Path within a Maven repository."""
        return Path(*self.group.split("."), self.artifact, self.version, self.file_name)

    def present_in(self, folder: Path) -> bool:
        """Whether a file of this size exists: enough for a folder that takes verified jars only."""
        try:
            return (folder / self.file_name).stat().st_size == self.size_bytes
        except FileNotFoundError:
            return False

    def matches(self, path: Path) -> bool:
        """Whether the file has this sha256."""
        with path.open("rb") as jar:
            return hashlib.file_digest(jar, "sha256").hexdigest() == self.sha256


def load_pins(path: Path = PIN_FILE) -> tuple[Pin, ...]:
    """Parse lines of `group:artifact:version bytes sha256`; `#` starts a comment line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(_parse(line) for line in lines if line and not line.startswith("#"))


def _parse(line: str) -> Pin:
    coordinate, size, sha256 = line.split()
    group, artifact, version = coordinate.split(":")
    return Pin(group, artifact, version, int(size), sha256)


PART = "Apache Kafka jars"
HTTP_TIMEOUT_S = 10


class Fetcher:
    """Downloads one pinned jar to `staging` with jgo, verifies it, and moves it to `folder`.

    jgo's own cache is not used: it writes downloads in place, only warns of a wrong checksum, and later takes any file
    of the right name for complete. `cancelled` ends running downloads at their next 8 KB.
    """

    def __init__(self, staging: Path, folder: Path) -> None:
        try:
            from jgo.config import GlobalSettings  # noqa: PLC0415  an extra; 0.3 s to import
            from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415
        except ImportError as error:
            raise missing_extra(PART, "jgo", KAFKA_HINT) from error
        settings = GlobalSettings.load()
        self._maven = MavenContext(
            resolver=PythonResolver(progress_callback=self._watch),
            repo_cache=staging,
            remote_repos={**MavenContext().remote_repos, **settings.repositories},
            timeout=HTTP_TIMEOUT_S,
        )
        self._local = Path(settings.repo_cache)
        self._staging, self._folder = staging, folder
        self.cancelled = threading.Event()

    def __call__(self, pin: Pin) -> None:
        """Put the verified jar into `folder`, or raise OSError (as requests does) or RuntimeError."""
        staged = self._staging / pin.file_name
        if not self._copy_local(pin, staged):
            shutil.move(self._download(pin), staged)
        if not pin.matches(staged):
            raise RuntimeError(f"{pin.file_name} has another sha256 than its pin")
        staged.replace(self._folder / pin.file_name)

    def _copy_local(self, pin: Pin, target: Path) -> bool:
        source = self._local / pin.repository_path
        if not (source.is_file() and pin.matches(source)):
            return False
        shutil.copyfile(source, target)
        return True

    def _download(self, pin: Pin) -> Path:
        component = self._maven.project(pin.group, pin.artifact).at_version(pin.version)
        return Path(component.artifact().resolve())

    @contextmanager
    def _watch(self, name: str, _size_bytes: int) -> Iterator[Callable[[int], None]]:
        def received(_count_bytes: int) -> None:
            if self.cancelled.is_set():
                raise RuntimeError(f"the download of {name} was cancelled")

        yield received


_POLL_S = 0.1


def cache_root() -> Path:
    """Return $XDG_CACHE_HOME/keepstream, by default ~/.cache/keepstream."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "keepstream"


@contextmanager
def exclusive(folder: Path, *, timeout_s: float, waiting: Callable[[], None]) -> Iterator[None]:
    """Lock `folder` for this process; calls `waiting` once if another process has the lock.

    Raises TimeoutError after `timeout_s`, OSError when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("wb") as lock:
        deadline = time.monotonic() + timeout_s
        if not _try_lock(lock.fileno()):
            waiting()
            while not _try_lock(lock.fileno()):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another process has locked {folder} for {timeout_s:g} s")
                time.sleep(_POLL_S)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


DOWNLOAD_TIMEOUT_S = 900.0
PARALLEL_DOWNLOADS = 6
_WAITING = "Waiting for another process that downloads Apache Kafka"
_STAGING = ".download-"
_MB = 1_000_000


def jar_folder() -> Path:
    return cache_root() / f"kafka-{KAFKA_VERSION}"


def kafka_classpath(progress: Callable[[str], None]) -> str:
    """Return the Java class path of Kafka's broker and console tools, after downloading missing jars.

    Safe in several processes at once. Uses no network when every jar is present.
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
    """Return the missing jars, largest first, so that progress is steady at the end."""
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
