"""An event loop of which a seed chooses the next step, and processes that can be killed or frozen at any of them."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.faults import Fault, Faults
from tests.virtual_time import VirtualTimeLoop


class Violation(AssertionError):  # noqa: N818 - it names what it is
    """An invariant of the promise does not hold."""


@dataclass(eq=False, slots=True)
class Process:
    """One worker process. Whatever is started in its context dies and freezes with it, without a word."""

    name: str
    on_death: Callable[[Process], None]
    context: contextvars.Context = field(default_factory=contextvars.Context)
    is_dead: bool = False
    is_frozen: bool = False
    withheld: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.run(_PROCESS.set, self)

    def kill(self) -> None:
        """End it as SIGKILL does: nothing of it runs any more, no clean-up either."""
        if not self.is_dead:
            self.is_dead = True
            self.withheld.clear()
            self.on_death(self)


_PROCESS: contextvars.ContextVar[Process] = contextvars.ContextVar("process")
_NOBODY = contextvars.Context()
"""What belongs to no process: brokers, the database, the world itself."""


def current_process() -> Process | None:
    return _PROCESS.get(None)


class SimulationLoop(VirtualTimeLoop):
    """Runs one ready step at a time, the one that the seed picks. Time passes only while nothing is ready."""

    def __init__(self, rng: random.Random, faults: Faults) -> None:
        super().__init__()
        self._rng = rng
        self._faults = faults
        self._servers: set[asyncio.Task[Any]] = set()
        self.steps = 0
        self.story: list[str] | None = None
        """What happened, for the person who looks into a seed; None while nobody listens."""
        self.violation: BaseException | None = None
        self.set_exception_handler(lambda _loop, context: self._unforeseen(context))

    def tell(self, what: object) -> None:
        """Add a line to the story."""
        if self.story is not None:
            process = current_process()
            self.story.append(f"{self._now:9.3f} {process.name if process else '':3} {what}")

    def serve(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that outlives every process."""
        task = self.create_task(work, context=_NOBODY)
        self._servers.add(task)
        task.add_done_callback(self._served, context=_NOBODY)

    def after(self, delay_s: float, callback: Callable[..., object], *args: Any) -> None:
        """Call something back that belongs to no process."""
        self.call_later(delay_s, callback, *args, context=_NOBODY)

    def violate(self, what: str | BaseException) -> None:
        """End the simulation: the first violation counts."""
        if self.violation is None:
            self.violation = Violation(what) if isinstance(what, str) else what

    def freeze(self, process: Process, duration_s: float) -> None:
        process.is_frozen = True
        self.after(duration_s, self._thaw, process)

    def run_world(self, world: Coroutine[Any, Any, None]) -> None:
        """Run to the end. Raises what was violated; leaves no task behind."""
        try:
            self.run_until_complete(self.create_task(world, context=_NOBODY))
        finally:
            for task in asyncio.all_tasks(self):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coroutine: Any = task.get_coro()
                coroutine.close()
            self.close()

    def _run_once(self) -> None:
        if self.violation is not None:
            raise self.violation
        self._wake()
        handle = self._pick()
        process = handle._context.get(_PROCESS)
        if handle._cancelled or (process is not None and process.is_dead):
            return
        self.steps += 1
        if process is None:
            handle._run()
        elif process.is_frozen:
            process.withheld.append(handle)
        elif self._faults.strikes(Fault.CRASH):
            process.kill()
        else:
            handle._run()

    def _wake(self) -> None:
        timers = self._scheduled
        while timers and (timers[0]._cancelled or timers[0]._when <= self._now or not self._ready):
            timer = heapq.heappop(timers)
            timer._scheduled = False
            if not timer._cancelled:
                self._now = max(self._now, timer._when)
                self._ready.append(timer)

    def _pick(self) -> Any:
        ready = self._ready
        chosen = int(self._rng.random() * len(ready))
        ready[0], ready[chosen] = ready[chosen], ready[0]
        return ready.popleft()

    def _thaw(self, process: Process) -> None:
        process.is_frozen = False
        self._ready.extend(process.withheld)
        process.withheld.clear()

    def _served(self, task: asyncio.Task[Any]) -> None:
        self._servers.discard(task)
        if error := task.exception():
            self.violate(error)

    def _unforeseen(self, context: dict[str, Any]) -> None:
        if not context["message"].startswith(("Future", "Task was destroyed")):  # left behind by the killed
            self.violate(context.get("exception") or str(context["message"]))
