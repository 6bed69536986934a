"""Breaking a worker from outside: a few lines that its process runs before anything else."""

from __future__ import annotations

from tests.acceptance.conftest import System, Worker

UNFORESEEN = """
from keepstream.processors.pipeline import Pipeline
process = Pipeline.process
async def broken(self, batch):
    if any(record.offset == 7 for record in batch.records):
        raise RuntimeError("unforeseen")
    return await process(self, batch)
Pipeline.process = broken
"""
FETCHING_DIES = """
from keepstream.app.worker.assignment import Assignment
advance = Assignment.advance
def broken(self, tp, epoch, position):
    advance(self, tp, epoch, position)
    if position > 1:
        raise RuntimeError("fetching died")
Assignment.advance = broken
"""
COMMITS_FAIL_TWICE = """
from aiokafka.errors import CommitFailedError
from keepstream.app.worker.consumer_thread import ConsumerThread
commit, failures = ConsumerThread.commit_settled, [1, 2]
async def broken(self, offsets):
    if failures:
        raise CommitFailedError(failures.pop())
    await commit(self, offsets)
ConsumerThread.commit_settled = broken
"""

CLOCK_LEAPS = """
import os, time
monotonic, flag = time.monotonic, os.environ["CLOCK_LEAPS_WHEN"]
time.monotonic = lambda: monotonic() + (7200 if os.path.exists(flag) else 0)
"""
STARTING_FAILS = """
from keepstream.app.worker.start_offsets import StartOffsetResolver
async def broken(self, thread, partitions):
    raise ValueError("unforeseen")
StartOffsetResolver._decide = broken
"""
GAUGES_FAIL = """
from keepstream.app.worker.assignment import Assignment
def broken(self):
    raise ValueError("unforeseen")
Assignment.lags = broken
"""


def sabotaged(system: System, code: str, **environment: str) -> Worker:
    """Start a worker that runs this code before anything else."""
    (system.folder / "sitecustomize.py").write_text(code)
    return system.start_worker(PYTHONPATH=str(system.folder), **environment)
