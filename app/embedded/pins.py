"""The jars we trust, each with its size and sha256 (`kafka-jars.txt`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

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
        """Where a Maven repository keeps it, relative to its root."""
        return Path(*self.group.split("."), self.artifact, self.version, self.file_name)

    def present_in(self, folder: Path) -> bool:
        """By existence and size: cheap, and enough for a folder that only verified jars enter."""
        try:
            return (folder / self.file_name).stat().st_size == self.size_bytes
        except FileNotFoundError:
            return False

    def matches(self, path: Path) -> bool:
        """By content."""
        with path.open("rb") as jar:
            return hashlib.file_digest(jar, "sha256").hexdigest() == self.sha256


def load_pins(path: Path = PIN_FILE) -> tuple[Pin, ...]:
    """Read `group:artifact:version bytes sha256` lines; `#` starts a comment line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(_parse(line) for line in lines if line and not line.startswith("#"))


def _parse(line: str) -> Pin:
    coordinate, size, sha256 = line.split()
    group, artifact, version = coordinate.split(":")
    return Pin(group, artifact, version, int(size), sha256)
