"""The jars of Apache Kafka in a cache on disk: missing ones are downloaded once, by one process at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from keepstream.app.embedded import KAFKA_HINT, EmbeddedUnavailableError, missing_extra

KAFKA_VERSION = "4.4.0"
PIN_FILE = Path(__file__).with_name("kafka-jars.txt")
PART = "Apache Kafka jars"
HTTP_TIMEOUT_S = 10
_STAGING = ".download-"
_MB = 1_000_000


@dataclass(frozen=True)
class Pin:
    """One file of a Maven repository: coordinate, size in bytes, sha256 in hex."""

    group: str
    artifact: str
    version: str
    size_bytes: int
    sha256: str
    classifier: str = ""
    packaging: str = "jar"

    @property
    def file_name(self) -> str:
        parts = [self.artifact, self.version, self.classifier]
        return f"{'-'.join(filter(None, parts))}.{self.packaging}"

    def present_in(self, folder: Path) -> bool:
        """Whether a file of this size exists: enough for a folder that takes verified files only."""
        try:
            return (folder / self.file_name).stat().st_size == self.size_bytes
        except FileNotFoundError:
            return False


def load_pins(path: Path = PIN_FILE) -> tuple[Pin, ...]:
    """Parse lines of `group:artifact:version bytes sha256`; `#` starts a comment line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(_parse(line) for line in lines if line and not line.startswith("#"))


def _parse(line: str) -> Pin:
    coordinate, size, sha256 = line.split()
    group, artifact, version = coordinate.split(":")
    return Pin(group, artifact, version, int(size), sha256)


def cache_root() -> Path:
    """Return $XDG_CACHE_HOME/keepstream, by default ~/.cache/keepstream."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "keepstream"


def jar_folder() -> Path:
    return cache_root() / f"kafka-{KAFKA_VERSION}"


def kafka_classpath(progress: Callable[[str], None]) -> str:
    """Return the Java class path of Kafka's broker and console tools, after downloading missing jars.

    Safe in several processes at once. Uses no network when every jar is present.
    Raises EmbeddedUnavailableError.
    """
    folder, pins = jar_folder(), load_pins()
    fetch(pins, folder, progress, f"Apache Kafka {KAFKA_VERSION}")
    return ":".join(str(folder / pin.file_name) for pin in pins)


def fetch(pins: Sequence[Pin], folder: Path, progress: Callable[[str], None], what: str) -> None:
    """Download the files that `folder` lacks. Raises EmbeddedUnavailableError."""
    try:
        if not all(pin.present_in(folder) for pin in pins):
            with _exclusive(folder, lambda: progress(f"Waiting for another process that downloads {what}")):
                _download([pin for pin in pins if not pin.present_in(folder)], folder, progress, what)
    except (OSError, RuntimeError) as error:  # requests raises OSError, jgo RuntimeError
        hint = f"check the network, HTTPS_PROXY and jgo's repositories, or {KAFKA_HINT}"
        raise EmbeddedUnavailableError(PART, f"{type(error).__name__}: {error}", hint) from error


@contextmanager
def _exclusive(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Lock `folder` for this process; calls `waiting` if another process has the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel releases it when its owner ends
        yield


def _download(pins: Sequence[Pin], folder: Path, progress: Callable[[str], None], what: str) -> None:
    """Download with jgo, verify, and move to `folder`.

    jgo's own cache is not used: it writes downloads in place, only warns of a wrong checksum, and later takes any file
    of the right name for complete.
    """
    try:
        from jgo.config import GlobalSettings  # noqa: PLC0415  an extra; 0.3 s to import
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra(PART, "jgo", KAFKA_HINT) from error
    for leftover in folder.glob(f"{_STAGING}*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_STAGING) as staging:
        maven = MavenContext(
            resolver=PythonResolver(),
            repo_cache=Path(staging),
            remote_repos={**MavenContext().remote_repos, **GlobalSettings.load().repositories},
            timeout=HTTP_TIMEOUT_S,
        )
        left_bytes = sum(pin.size_bytes for pin in pins)
        progress(f"Downloading {what}, once: {left_bytes / _MB:.0f} MB")
        for pin in sorted(pins, key=lambda pin: -pin.size_bytes):
            if pin.size_bytes > _MB:
                progress(f"Downloading {what}: {left_bytes / _MB:.0f} MB to go")
            component = maven.project(pin.group, pin.artifact).at_version(pin.version)
            downloaded = Path(component.artifact(pin.classifier, pin.packaging).resolve())
            if hashlib.sha256(downloaded.read_bytes()).hexdigest() != pin.sha256:
                raise RuntimeError(f"{pin.file_name} has another sha256 than its pin")
            downloaded.replace(folder / pin.file_name)
            left_bytes -= pin.size_bytes
