"""Jars of the contestants that run on Java: fetched once, checked, kept beside those of the embedded broker."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestant import HERE, MissingError
from keepstream.app.embedded.errors import EmbeddedUnavailableError
from keepstream.app.embedded.kafka_jars import Fetcher, Pin, cache_root, exclusive, load_pins

WAIT_S = 900.0
DEBEZIUM_BYTES = 57_974_346
DEBEZIUM_SHA256 = "c23af8d416f0f801ffb0271b1a8fd9b5360ff8d66b0dd650e066bb56ecfddc05"


@dataclass(frozen=True)
class PluginPin(Pin):
    """A Kafka Connect plugin as its makers pack it: an archive of all its jars."""

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}-plugin.tar.gz"


class PluginFetcher(Fetcher):
    """Fetches plugin archives."""

    def _download(self, pin: Pin) -> Path:
        component = self._maven.project(pin.group, pin.artifact).at_version(pin.version)
        return Path(component.artifact("plugin", "tar.gz").resolve())


# Not its Maven dependencies: hibernate-agroal 7.2.6.Final, one of them, is not on Central.
DEBEZIUM = PluginPin(
    "io.debezium", "debezium-connector-jdbc", "3.6.0.Final", DEBEZIUM_BYTES, DEBEZIUM_SHA256
)  # fmt: skip


def classpath(name: str) -> str:
    """Return the class path of ``NAME-jars.txt``. Raises MissingError where a jar cannot be had."""
    folder, pins = cache_root() / f"bench-{name}", load_pins(HERE / f"{name}-jars.txt")
    _fetch(Fetcher, folder, [pin for pin in pins if not pin.present_in(folder)])
    return ":".join(str(folder / pin.file_name) for pin in pins)


def plugin_path() -> Path:
    """Return the folder that holds the unpacked Debezium plugin. Raises MissingError."""
    folder = cache_root() / "bench-debezium"
    if not DEBEZIUM.present_in(folder):
        _fetch(PluginFetcher, folder, [DEBEZIUM])
        with tarfile.open(folder / DEBEZIUM.file_name) as archive:
            archive.extractall(folder, filter="data")
    return folder


def _fetch(fetcher: Callable[[Path, Path], Fetcher], folder: Path, pins: list[Pin]) -> None:
    if not pins:
        return
    try:
        with (
            exclusive(folder, timeout_s=WAIT_S, waiting=lambda: None),
            tempfile.TemporaryDirectory(dir=folder) as staging,
        ):
            fetch = fetcher(Path(staging), folder)
            for pin in pins:
                fetch(pin)
    except (OSError, RuntimeError, EmbeddedUnavailableError) as error:
        raise MissingError(f"{type(error).__name__}: {error}") from error
