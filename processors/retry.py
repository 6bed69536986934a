"""Retry policies: how often and how long a step is tried. tenacity carries them out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from keepstream.schemas.failure import Failure, Step, TransientError, Verdict

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Capped exponential backoff with full jitter: the n-th wait is drawn from [0, min(cap, base * 2^n)].

    Full jitter is what spreads many workers best (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
    """

    max_retries: int
    """Attempts after the first."""
    base_s: float
    cap_s: float
    attempt_timeout_s: float
    """An attempt that takes longer has failed."""
    budget_s: float
    """Longest time of all attempts and waits together."""

    async def run(
        self,
        step: Step,
        attempt: Callable[[], Awaitable[T]],
        on_retry: Callable[[Failure], None] = lambda _failure: None,
    ) -> T:
        """Retry an attempt while it raises a TransientError of this step. Raises the last one, with the attempts.

        When the budget ends first, the failure before is raised: an attempt that was cut short says less.
        """
        last: Failure | None = None

        def before_sleep(state: RetryCallState) -> None:
            nonlocal last
            last = _failure_of(state)
            on_retry(last)

        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.max_retries + 1),
            wait=wait_random_exponential(multiplier=self.base_s, max=self.cap_s),
            retry=retry_if_exception(lambda error: isinstance(error, TransientError) and error.failure.step is step),
            before_sleep=before_sleep,
            sleep=asyncio.sleep,
            retry_error_callback=_raise_last,
        )
        try:
            async with asyncio.timeout(self.budget_s):
                return await retrying(self._one, step, attempt)
        except TimeoutError:
            failure = _timed_out(step, "budget", self.budget_s, retrying.statistics)
            raise TransientError(replace(last, attempts=failure.attempts) if last else failure) from None

    async def _one(self, step: Step, attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self.attempt_timeout_s):
                return await attempt()
        except TimeoutError:
            raise TransientError(_timed_out(step, "attempt", self.attempt_timeout_s, {})) from None


@dataclass(slots=True)
class SharedWait:
    """The time that the records of a batch may wait together for rows that they refer to.

    It begins with the first wait. A record whose turn comes after its end has its attempt, and no wait of its own:
    otherwise a batch of such records would hold its partition a hundred times as long.
    """

    limit_s: float = 0.0
    _end_s: float | None = None

    async def again(self, tries: int) -> bool:
        """Wait before the next attempt, at first a tenth of a second, later one. Return False when the time is over."""
        now_s = asyncio.get_running_loop().time()
        if self._end_s is None:
            self._end_s = now_s + self.limit_s
        left_s = self._end_s - now_s
        if left_s <= 0:
            return False
        await asyncio.sleep(min(left_s, 1.0, 0.1 * 2 ** min(tries, 4)))
        return True


def _failure_of(state: RetryCallState) -> Failure:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TransientError)  # noqa: S101 - only these are retried
    return error.failure


def _raise_last(state: RetryCallState) -> None:
    failure = _failure_of(state)
    raise TransientError(replace(failure, attempts=state.attempt_number))


def _timed_out(step: Step, what: str, limit_s: float, statistics: dict[str, object]) -> Failure:
    attempts = statistics.get("attempt_number", 1)
    message = f"the {step} step used up its {what} of {limit_s:g} s"
    return Failure(step, Verdict.TRANSIENT, "timeout", message, attempts=attempts if isinstance(attempts, int) else 1)
