"""Dry runs and replays of the console, each in its own thread."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from keepstream.app.connect.services import Services
from keepstream.app.dlq.replay import DryRun, DryRunOptions, Replayer, open_replayer
from keepstream.app.errors import NOT_FOUND, REFUSED, KeepstreamError
from keepstream.app.web.masking import Mask
from keepstream.app.web.query import Query
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.replay import Reconciliation, ReplayOptions, ReplayRun

log = logging.getLogger(__name__)
MAX_KEPT = 100
SETTLE_TIMEOUT_S = 300.0
_POLL_S = 0.3


class Phase(StrEnum):
    """Phase of a job. After ``surveyed`` it waits for confirmation."""

    SURVEYING = "surveying"
    SURVEYED = "surveyed"
    REPLAYING = "replaying"
    SETTLING = "settling"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


RUNNING = frozenset({Phase.SURVEYING, Phase.REPLAYING, Phase.SETTLING})


@dataclass
class Job:
    """One replay, from its dry run to its reconciliation. ``edited``: dead letters with their new values."""

    query: Query
    options: ReplayOptions
    user: str
    edited: list[tuple[DeadLetterRecord, bytes]] = field(default_factory=list)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    phase: Phase = Phase.SURVEYING
    worked: int = 0
    ends: Mapping[int, int] = field(default_factory=dict)
    survey: DryRun | None = None
    run: ReplayRun | None = None
    result: Reconciliation | None = None
    known: bool = False
    error: KeepstreamError | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        return self.phase in RUNNING

    @property
    def total(self) -> int | None:
        return self.survey.selected if self.survey else None

    def progress(self, worked: int) -> None:
        self.worked = worked


class Jobs:
    """Jobs, in memory; the replays are in PostgreSQL, and ``--resume`` continues them after a restart."""

    def __init__(self, services: Services, mask: Mask) -> None:
        self._services = services
        self._mask = mask
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, job_id: str) -> Job:
        """Return a job. Raises `KeepstreamError` for an unknown id."""
        if job_id not in self._jobs:
            raise KeepstreamError("unknown_job", "this dry run no longer exists", "start another one", NOT_FOUND)
        return self._jobs[job_id]

    def survey(self, job: Job) -> None:
        """Start a dry run. Raises `KeepstreamError` when too many jobs run."""
        with self._lock:
            if sum(other.running for other in self._jobs.values()) >= MAX_KEPT // 10:
                raise KeepstreamError("busy", "too many dry runs and replays are running", "wait for one", REFUSED)
            self._jobs[job.id] = job
            for old in [one for one in self._jobs.values() if not one.running][: max(0, len(self._jobs) - MAX_KEPT)]:
                del self._jobs[old.id]
        self._start(job, self._survey)

    def replay(self, job: Job, typed: str, user: str) -> None:
        """Start the replay of a dry run confirmed by its count. Raises `KeepstreamError` when the count differs."""
        with self._lock:
            if job.phase is not Phase.SURVEYED or job.survey is None:
                raise KeepstreamError(
                    "not_surveyed", "this dry run was used or did not end", "start another one", REFUSED
                )
            if typed.strip().replace(",", "") != str(job.survey.selected):
                why = f"{job.survey.selected:,} would be replayed, and that is not what was typed"
                raise KeepstreamError("not_confirmed", why, "type the count", REFUSED)
            job.phase, job.worked, job.user = Phase.REPLAYING, 0, user
        self._start(job, self._replay)

    def stop_all(self) -> None:
        """Stop all jobs; each ends after its current chunk."""
        for job in self._jobs.values():
            job.stop.set()

    def join(self) -> None:
        """Wait for the jobs that were stopped."""
        for job in self._jobs.values():
            if job.thread:
                job.thread.join(10)

    def _start(self, job: Job, work: Callable[[Job, Replayer], None]) -> None:
        job.thread = threading.Thread(target=self._guarded, args=(job, work), name=f"job {job.id}", daemon=True)
        job.thread.start()

    def _guarded(self, job: Job, work: Callable[[Job, Replayer], None]) -> None:
        try:
            with open_replayer(self._services, job.options) as replayer:
                work(job, replayer)
        except KeepstreamError as error:
            job.error, job.phase = error, Phase.FAILED
        except Exception:
            log.exception("job %s failed", job.id)
            job.error, job.phase = KeepstreamError("internal", "it failed; the log has the reason"), Phase.FAILED

    def _survey(self, job: Job, replayer: Replayer) -> None:
        job.ends = replayer.ends()
        edited = {dead_letter.id: value for dead_letter, value in job.edited}
        how = DryRunOptions(edited=edited, view=self._mask.value, progress=job.progress, stop=job.stop.is_set)
        job.survey = replayer.dry_run(job.query.chosen.selection, job.options, job.ends, how)
        job.phase = Phase.CANCELLED if job.stop.is_set() else Phase.SURVEYED

    def _replay(self, job: Job, replayer: Replayer) -> None:
        selection = job.query.chosen.selection
        job.run = replayer.begin(selection, job.options, job.ends, job.user)
        for dead_letter, value in job.edited:
            replayer.ledger.remember_edit(job.run, dead_letter, value)
        job.result = replayer.run(job.run, selection, job.progress, job.stop.is_set)
        log.info("replay %d: %s", job.run.id, job.result)
        if job.stop.is_set():
            job.phase = Phase.CANCELLED
            return
        job.phase = Phase.SETTLING
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while not job.known and time.monotonic() < deadline and not job.stop.wait(_POLL_S):
            job.known = replayer.outcome(job.run, job.result)
        job.phase = Phase.DONE
