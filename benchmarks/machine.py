"""On what, and with which versions: printed with every table, because a rate alone says little."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

from benchmarks.stage import Stage
from keepstream.app.embedded.java import java
from keepstream.app.embedded.kafka_jars import KAFKA_VERSION

PACKAGES = ("keepstream", "faust-streaming", "aiokafka", "confluent-kafka", "pydantic", "psycopg")


def machine(stage: Stage) -> dict[str, str]:
    """Return what matters for comparing two sittings."""
    with stage.connect() as connection:
        shown = {
            name: str(connection.execute(f"SHOW {name}").fetchall()[0][0])
            for name in ("server_version", "fsync", "shared_buffers")
        }
    memory_kb = int(Path("/proc/meminfo").read_text(encoding="ascii").split()[1])
    return {
        "CPU": f"{os.cpu_count()} cores, {_cpu_model()}",
        "memory": f"{memory_kb / 1024**2:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load when it began": f"{os.getloadavg()[0]:.1f}",
        "Kafka": f"{KAFKA_VERSION}, Java {java().version}",
        "PostgreSQL": f"{shown.pop('server_version')}, " + ", ".join(f"{k} {v}" for k, v in shown.items()),
        "Python": platform.python_version(),
        "packages": ", ".join(f"{package} {version(package)}" for package in PACKAGES),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
