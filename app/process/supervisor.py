"""Supervisor of several worker processes on one machine: restarts those that end, drains all together.

They are ordinary members of the consumer group and share only the parent process and its stderr. After a crash the next
owner of a partition continues at the offset in PostgreSQL, as always.
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

from keepstream.app.config.settings import Settings
from keepstream.app.errors import USAGE
from keepstream.app.process.launch import launch_argv

StartWorker = Callable[[Mapping[str, str]], subprocess.Popen[bytes]]

log = logging.getLogger(__name__)
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
STABLE_AFTER_S = 60.0
"""After this uptime the next restart is immediate again."""
STOP_MARGIN_S = 7.0
"""Added to the drain timeout. A worker ends itself earlier (`STOP_GRACE_S`); one that does not is killed."""
POLL_S = 0.1


def start_worker(environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start one worker that drains when this process ends for any reason. It inherits stdout and stderr."""
    return subprocess.Popen(
        launch_argv([sys.executable, "-P", "-m", "keepstream.app", "worker"], signal.SIGTERM),
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        start_new_session=True,  # Ctrl-C reaches it only through this process
    )


def environments(settings: Settings) -> list[dict[str, str]]:
    """Return the environment of each worker: its number, port, static membership, and the command's options."""
    http, instance = settings.http, settings.kafka.group_instance_id
    slots = []
    for number in range(1, settings.worker.processes + 1):
        own = {
            "KEEPSTREAM_WORKER__PROCESSES": "1",
            "KEEPSTREAM_WORKER__BATCH_SIZE": str(settings.worker.batch_size),
            "KEEPSTREAM_LOG__WORKER": str(number),
            "KEEPSTREAM_LOG__LEVEL": settings.log.level,
            "KEEPSTREAM_LOG__FORMAT": settings.log.format,
            "KEEPSTREAM_HTTP__PORT": str(http.port + number - 1 if http.port else 0),
        }
        slots.append(own | ({"KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID": f"{instance}-{number}"} if instance else {}))
    return slots


class WorkerSlot:
    """One worker process and its restarts."""

    def __init__(self, number: int, environment: Mapping[str, str], start: StartWorker) -> None:
        self.number = number
        self._environment = environment
        self._start = start
        self._child: subprocess.Popen[bytes] | None = None
        self._wait_s = FIRST_WAIT_S
        self._started_at = 0.0
        self._due_at = 0.0
        self.exit_code: int | None = None
        """Of the last process that ended; minus the signal's number after a signal."""

    def check(self, now: float) -> None:
        """Start the worker when it is due, or schedule its restart when it has ended."""
        if self._child is None:
            if now >= self._due_at:
                self._spawn(now)
        elif (code := self._child.poll()) is not None:
            self._ended(code, now)

    @property
    def runs(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def ask_to_drain(self) -> None:
        if self._child is not None:
            self._child.send_signal(signal.SIGTERM)

    def stop(self, deadline: float) -> None:
        """Wait for the worker until the deadline, then kill it."""
        if self._child is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(max(0.0, deadline - time.monotonic()))
        if self.runs:
            log.error("worker %d did not end in time and is killed; its batches are read again", self.number)
            self._child.kill()
        code = self._child.wait()
        # Its signal handler was not installed yet: nothing was in flight.
        self.exit_code = 0 if code == -signal.SIGTERM else code
        self._child = None

    def _spawn(self, now: float) -> None:
        self._child, self._started_at = self._start(self._environment), now
        log.info("worker %d started, process %d", self.number, self._child.pid)

    def _ended(self, code: int, now: float) -> None:
        self._child, self.exit_code = None, code
        if now - self._started_at >= STABLE_AFTER_S:
            self._wait_s = FIRST_WAIT_S
        self._due_at = now + self._wait_s
        log.error("worker %d ended with %d; it is started again in %.1f s", self.number, code, self._wait_s)
        self._wait_s = min(LONGEST_WAIT_S, self._wait_s * 2)


class WorkerSupervisor:
    """All worker processes of one command."""

    def __init__(self, settings: Settings, start: StartWorker = start_worker) -> None:
        self.slots = [WorkerSlot(n, own, start) for n, own in enumerate(environments(settings), 1)]
        self._stop_timeout_s = settings.worker.drain_timeout_s + STOP_MARGIN_S
        self._stopping = False

    def ask_to_stop(self, *_signal: object) -> None:
        """Handle a signal: no worker is restarted from now on."""
        self._stopping = True

    def run(self) -> int:
        """Keep all workers running until asked to stop, drain them, and return the highest exit code."""
        while not self._stopping and not self._refused():
            for slot in self.slots:
                slot.check(time.monotonic())
            time.sleep(POLL_S)
        return self._drain()

    def _refused(self) -> bool:
        """Whether a worker rejected its settings: restarted, it would reject them again."""
        return any(slot.exit_code == USAGE for slot in self.slots)

    def _drain(self) -> int:
        log.info("stopping: %d workers drain", sum(slot.runs for slot in self.slots))
        deadline = time.monotonic() + self._stop_timeout_s
        for slot in self.slots:
            slot.ask_to_drain()
        for slot in self.slots:
            slot.stop(deadline)
        codes = [slot.exit_code or 0 for slot in self.slots]
        return max(128 - code if code < 0 else code for code in codes)  # after a signal, as shells do


def run_workers(settings: Settings) -> int:
    """Run the workers until SIGTERM or SIGINT."""
    supervisor = WorkerSupervisor(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.ask_to_stop)
    return supervisor.run()
