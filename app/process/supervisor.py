"""Several workers on one machine: a process each, restarted when it dies, drained together.

They are ordinary members of the consumer group; nothing is shared but this parent and its stderr. It starts, waits and
ends, and knows nothing of Kafka: what a dead worker leaves behind is PostgreSQL's offset, as always.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from keepstream.app.config.settings import Settings
from keepstream.app.errors import USAGE
from keepstream.app.process import launch

StartWorker = Callable[[Mapping[str, str]], "Child"]

log = logging.getLogger(__name__)
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
STEADY_S = 60.0
"""A worker that lived for so long had a good start: the next wait is short again."""
LEAVE_S = 7.0
"""Past the drain time. A worker ends itself before (`STOP_GRACE_S`); what is left then is killed."""
POLL_S = 0.1


class Child(Protocol):
    """What `subprocess.Popen` gives."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


def start_worker(environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start one worker that drains when we die, whatever we die of. Its stdout and stderr are ours."""
    order = [str(os.getpid()), str(int(signal.SIGTERM)), "-1", "-1"]
    program = [sys.executable, "-P", "-m", "keepstream.app", "worker"]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", launch.__file__, *order, *program],
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        start_new_session=True,  # Ctrl-C reaches it only through us
    )


def environments(settings: Settings) -> list[dict[str, str]]:
    """Return what makes each worker itself, its name, its port, its static membership, and what the options said."""
    http, instance = settings.http, settings.kafka.group_instance_id
    seats = []
    for number in range(1, settings.worker.processes + 1):
        own = {
            "KEEPSTREAM_WORKER__PROCESSES": "1",
            "KEEPSTREAM_WORKER__BATCH_SIZE": str(settings.worker.batch_size),
            "KEEPSTREAM_LOG__WORKER": str(number),
            "KEEPSTREAM_LOG__LEVEL": settings.log.level,
            "KEEPSTREAM_LOG__FORMAT": settings.log.format,
            "KEEPSTREAM_HTTP__PORT": str(http.port + number - 1 if http.port else 0),
        }
        seats.append(own | ({"KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID": f"{instance}-{number}"} if instance else {}))
    return seats


class WorkerSlot:
    """One place in the fleet, and the worker that has it."""

    def __init__(self, number: int, environment: Mapping[str, str], start: StartWorker) -> None:
        self.number = number
        self._environment = environment
        self._start = start
        self._child: Child | None = None
        self._wait_s = FIRST_WAIT_S
        self._started_at = 0.0
        self._due_at = 0.0
        self.exit_code: int | None = None
        """Of the last worker that ended here; minus the signal's number when a signal ended it."""

    def tend(self, now: float) -> None:
        """Take note of a death, or start a worker when it is due."""
        if self._child is None:
            if now >= self._due_at:
                self._begin(now)
        elif (code := self._child.poll()) is not None:
            self._died(code, now)

    @property
    def runs(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def ask_to_drain(self) -> None:
        if self._child is not None:
            self._child.send_signal(signal.SIGTERM)

    def end(self, deadline: float) -> None:
        """Wait for the worker until the deadline, then kill it."""
        if self._child is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(max(0.0, deadline - time.monotonic()))
        if self.runs:
            log.error("worker %d did not end in time and is killed; its batches are read again", self.number)
            self._child.kill()
        code = self._child.wait()
        # It had not come so far as to listen: nothing was in flight.
        self.exit_code = 0 if code == -signal.SIGTERM else code
        self._child = None

    def _begin(self, now: float) -> None:
        self._child, self._started_at = self._start(self._environment), now
        log.info("worker %d started, process %d", self.number, self._child.pid)

    def _died(self, code: int, now: float) -> None:
        self._child, self.exit_code = None, code
        if now - self._started_at >= STEADY_S:
            self._wait_s = FIRST_WAIT_S
        self._due_at = now + self._wait_s
        log.error("worker %d ended with %d; it is started again in %.1f s", self.number, code, self._wait_s)
        self._wait_s = min(LONGEST_WAIT_S, self._wait_s * 2)


class WorkerSupervisor:
    """All workers of one command."""

    def __init__(self, settings: Settings, start: StartWorker = start_worker) -> None:
        self.seats = [WorkerSlot(n, own, start) for n, own in enumerate(environments(settings), 1)]
        self._leave_within_s = settings.worker.drain_timeout_s + LEAVE_S
        self._asked = False

    def ask_to_stop(self, *_signal: object) -> None:
        """Take a signal: from here on nobody is restarted."""
        self._asked = True

    def run(self) -> int:
        """Keep all seats taken until asked to stop, drain, and return the worst exit code."""
        while not self._asked and not self._refused():
            for seat in self.seats:
                seat.tend(time.monotonic())
            time.sleep(POLL_S)
        return self._drain()

    def _refused(self) -> bool:
        """Return whether a worker refused its settings: restarted, it would refuse them again."""
        return any(seat.exit_code == USAGE for seat in self.seats)

    def _drain(self) -> int:
        log.info("stopping: %d workers drain", sum(seat.runs for seat in self.seats))
        deadline = time.monotonic() + self._leave_within_s
        for seat in self.seats:
            seat.ask_to_drain()
        for seat in self.seats:
            seat.end(deadline)
        return max(as_exit_code(seat.exit_code or 0) for seat in self.seats)


def as_exit_code(code: int) -> int:
    """Return a child's code as a shell tells it: 128 and the signal's number."""
    return code if code >= 0 else 128 - code


def run_fleet(settings: Settings) -> int:
    """Run the workers until SIGTERM or SIGINT."""
    fleet = WorkerSupervisor(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, fleet.ask_to_stop)
    return fleet.run()
