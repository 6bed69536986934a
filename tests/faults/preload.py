"""Small C libraries that a process is started with, so that its machine fails it when a test says so."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Lever:
    """A library, and the number that it goes by, which every process that has loaded it sees at once."""

    library: Path
    number: Path
    variable: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process must be started with."""
        return {"LD_PRELOAD": str(self.library), self.variable: str(self.number)}

    def set(self, value: int) -> None:
        with self.number.open("r+b") as file:
            file.write(struct.pack("l", value))


@contextmanager
def lever(name: str) -> Iterator[Lever]:
    """Build ``name.c``, which reads the file named by ``NAME_FILE``; skip where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip(f"no C compiler (cc) to build {name} with")
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="keepstream-") as folder:
        Path(folder).chmod(0o711)  # an account that is not ours loads it too
        built = Lever(Path(folder, f"{name}.so"), Path(folder, "number"), f"{name.upper()}_FILE")
        source = Path(__file__).with_name(f"{name}.c")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", built.library, source, "-ldl"], check=True)
        built.number.write_bytes(struct.pack("l", 0))
        for file in (built.library, built.number):
            file.chmod(0o644)
        yield built
