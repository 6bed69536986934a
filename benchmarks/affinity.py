"""Which core runs what: to see what is the worker's, and what comes of sharing cores with all the others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from benchmarks.contestant import Contestant, Course, MissingError
from benchmarks.stage import Stage
from keepstream.app.embedded.process import descendants

OTHERS_CORE, WORKER_CORE = 0, 1


@contextmanager
def pinned(stage: Stage) -> Iterator[None]:
    """Keep broker, database and this process, whose children the producers are, on one core."""
    pids = [pid for pid in (stage.kafka.pid, stage.postgres.pid, os.getpid()) if pid]
    before = os.sched_getaffinity(0)
    _pin(pids, {OTHERS_CORE})
    try:
        yield
    finally:
        _pin(pids, before)


def on_worker_core(contestant: Contestant) -> Contestant:
    """Return the contestant on the other core."""

    def command(course: Course) -> tuple[tuple[str, ...], Mapping[str, str]]:
        taskset = shutil.which("taskset")
        if taskset is None or (os.cpu_count() or 1) <= WORKER_CORE:
            raise MissingError("pinning needs two cores, and taskset of util-linux")
        argv, environment = contestant.command(course)
        return (taskset, "--cpu-list", str(WORKER_CORE), *argv), environment

    return replace(contestant, command=command)


def _pin(pids: list[int], cores: set[int]) -> None:
    """Pin each thread: those that run already do not follow their process."""
    for pid in {*pids, *(child for parent in pids for child in descendants(parent))}:
        with suppress(OSError):  # it has ended
            for thread in Path(f"/proc/{pid}/task").iterdir():
                with suppress(OSError):
                    os.sched_setaffinity(int(thread.name), cores)
