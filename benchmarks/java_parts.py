"""Jars of the contestants that run on Java: fetched once, checked, kept beside those of the embedded broker."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestant import HERE, MissingError
from keepstream.app.embedded import EmbeddedUnavailableError
from keepstream.app.embedded.kafka_jars import Pin, cache_root, fetch, load_pins

DEBEZIUM_BYTES = 57_974_346
DEBEZIUM_SHA256 = "c23af8d416f0f801ffb0271b1a8fd9b5360ff8d66b0dd650e066bb56ecfddc05"


# Not its Maven dependencies: hibernate-agroal 7.2.6.Final, one of them, is not on Central.
DEBEZIUM = Pin(
    "io.debezium", "debezium-connector-jdbc", "3.6.0.Final", DEBEZIUM_BYTES, DEBEZIUM_SHA256, "plugin", "tar.gz"
)  # fmt: skip


def classpath(name: str) -> str:
    """Return the class path of ``NAME-jars.txt``. Raises MissingError where a jar cannot be had."""
    folder, pins = cache_root() / f"bench-{name}", load_pins(HERE / f"{name}-jars.txt")
    _fetch(pins, folder)
    return ":".join(str(folder / pin.file_name) for pin in pins)


def plugin_path() -> Path:
    """Return the folder that holds the unpacked Debezium plugin. Raises MissingError."""
    folder = cache_root() / "bench-debezium"
    if not DEBEZIUM.present_in(folder):
        _fetch([DEBEZIUM], folder)
        with tarfile.open(folder / DEBEZIUM.file_name) as archive:
            archive.extractall(folder, filter="data")
    return folder


def _fetch(pins: Sequence[Pin], folder: Path) -> None:
    try:
        fetch(pins, folder, lambda _line: None, "a contestant")
    except EmbeddedUnavailableError as error:
        raise MissingError(str(error)) from error
