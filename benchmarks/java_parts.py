"""Java parts of contestants, and of a real Debezium in the tests: fetched once, checked, kept beside the broker's."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestant import HERE, MissingError
from keepstream.app.embedded import EmbeddedUnavailableError
from keepstream.app.embedded.kafka_jars import Pin, cache_root, fetch, load_pins


def _debezium(artifact: str, version: str, size_bytes: int, sha256: str) -> Pin:
    """Name a connector with all that it needs beside Connect, as Debezium packs it.

    Not its Maven dependencies: hibernate-agroal 7.2.6.Final, one of the JDBC sink's, is not on Central.
    """
    return Pin("io.debezium", artifact, version, size_bytes, sha256, "plugin", "tar.gz")


DEBEZIUM_JDBC = _debezium(
    "debezium-connector-jdbc", "3.6.0.Final", 57_974_346,
    "c23af8d416f0f801ffb0271b1a8fd9b5360ff8d66b0dd650e066bb56ecfddc05",
)  # fmt: skip
DEBEZIUM_POSTGRES = _debezium(
    "debezium-connector-postgres", "3.6.1.Final", 25_247_217,
    "408b00c073b27ddaa7af34684f60fcf5bbf6605de68a8662ec9462f2a88880d2",
)  # fmt: skip


def classpath(name: str) -> str:
    """Return the class path of ``NAME-jars.txt``. Raises MissingError where a jar cannot be had."""
    folder, pins = cache_root() / f"bench-{name}", load_pins(HERE / f"{name}-jars.txt")
    _fetch(pins, folder)
    return ":".join(str(folder / pin.file_name) for pin in pins)


def plugin_path(plugin: Pin) -> Path:
    """Return the folder that holds the unpacked plugin. Raises MissingError."""
    folder = cache_root() / f"bench-{plugin.artifact}"
    unpacked = folder / plugin.version
    if not unpacked.exists():
        _fetch([plugin], folder)
        _unpack(folder / plugin.file_name, unpacked)
    return unpacked


def _unpack(file: Path, folder: Path) -> None:
    half = folder.with_suffix(".half")  # an interrupted run leaves no folder that looks whole
    shutil.rmtree(half, ignore_errors=True)
    with tarfile.open(file) as archive:
        # Debian's Python 3.11.2 has no filters yet.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _folder: member)
        archive.extractall(half)  # noqa: S202 - its SHA-256 is checked
    half.rename(folder)


def _fetch(pins: Sequence[Pin], folder: Path) -> None:
    try:
        fetch(pins, folder, lambda _line: None, "a contestant")
    except EmbeddedUnavailableError as error:
        raise MissingError(str(error)) from error
