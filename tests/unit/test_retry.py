"""How often and how long a step is tried. Time is virtual: the waits are exact and cost nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from keepstream.app.config.settings import RetrySettings
from keepstream.processors.retry import RetryPolicy
from keepstream.schemas.failure import Failure, RecordError, Step, StepError, SystemicError, TransientError, Verdict
from tests.builders import make_failure
from tests.virtual_time import now, run_virtually


def transient(step: Step = Step.STORE) -> TransientError:
    failure = make_failure(step=step, verdict=Verdict.TRANSIENT, reason="deadlock_detected", sqlstate="40P01")
    return TransientError(failure)


@dataclass
class Attempts:
    """Raises its errors one by one, then works. Each attempt takes its time."""

    errors: Sequence[StepError]
    takes_s: float = 0.0
    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    async def __call__(self) -> str:
        self.began.append(now())
        await asyncio.sleep(self.takes_s)
        self.ended.append(now())
        if len(self.began) <= len(self.errors):
            raise self.errors[len(self.began) - 1]
        return "done"

    @property
    def waits(self) -> list[float]:
        return [began - ended for ended, began in zip(self.ended, self.began[1:], strict=False)]


def policy(**changes: float) -> RetryPolicy:
    """Return the policy of the default settings, changed."""
    return RetryPolicy(**(RetrySettings().model_dump() | changes))


def run(policy: RetryPolicy, attempts: Attempts, retried: list[Failure] | None = None) -> str:
    heard = [] if retried is None else retried
    return run_virtually(policy.run(Step.STORE, attempts, heard.append))


def fail(policy: RetryPolicy, attempts: Attempts) -> TransientError:
    with pytest.raises(TransientError) as caught:
        run(policy, attempts)
    return caught.value


def test_what_works_at_once_is_tried_once() -> None:
    attempts = Attempts([])
    assert run(policy(), attempts) == "done"
    assert len(attempts.began) == 1


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_transient_failure_is_tried_again(failures: int) -> None:
    attempts = Attempts([transient()] * failures)
    assert run(policy(max_retries=3), attempts) == "done"
    assert len(attempts.began) == failures + 1


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_the_last_failure_is_raised_with_the_attempts_it_took(max_retries: int) -> None:
    attempts = Attempts([transient()] * 10)
    failure = fail(policy(max_retries=max_retries), attempts).failure
    assert len(attempts.began) == max_retries + 1
    assert failure == make_failure(
        verdict=Verdict.TRANSIENT, reason="deadlock_detected", sqlstate="40P01", attempts=max_retries + 1
    )


@pytest.mark.parametrize("kind", [RecordError, SystemicError])
def test_only_transient_failures_are_tried_again(kind: type[StepError]) -> None:
    attempts = Attempts([kind(make_failure())])
    with pytest.raises(kind):
        run(policy(), attempts)
    assert len(attempts.began) == 1


def test_each_wait_is_drawn_between_zero_and_a_limit_that_doubles_up_to_the_cap() -> None:
    chosen = policy(max_retries=4, base_s=0.1, cap_s=0.5, budget_s=60)
    waits = []
    for _ in range(200):
        attempts = Attempts([transient()] * 4)
        run(chosen, attempts)
        waits.append(attempts.waits)
    for limit, drawn in zip((0.1, 0.2, 0.4, 0.5), zip(*waits, strict=True), strict=True):
        assert 0 <= min(drawn) < 0.2 * limit
        assert 0.8 * limit < max(drawn) <= limit


def test_every_failure_but_the_last_is_reported_as_retried() -> None:
    heard: list[Failure] = []
    with pytest.raises(TransientError):
        run(policy(max_retries=2), Attempts([transient()] * 3), heard)
    assert [failure.reason for failure in heard] == ["deadlock_detected"] * 2


def test_an_attempt_that_hangs_is_given_up_and_tried_again() -> None:
    attempts = Attempts([], takes_s=3600)
    failure = fail(policy(max_retries=1, attempt_timeout_s=2, budget_s=60), attempts).failure
    assert len(attempts.began) == 2
    assert attempts.ended == []
    assert failure.reason == "timeout"
    assert failure.message == "the store step used up its attempt of 2 s"
    assert failure.attempts == 2


def test_attempts_and_waits_together_stay_within_the_budget() -> None:
    async def timed() -> tuple[float, TransientError]:
        with pytest.raises(TransientError) as caught:
            await chosen.run(Step.METRICS, attempts)
        return now(), caught.value

    chosen = policy(max_retries=100, base_s=0.001, attempt_timeout_s=10, budget_s=10)
    attempts = Attempts([transient(Step.METRICS)] * 100, takes_s=4)
    took_s, error = run_virtually(timed())
    assert took_s == pytest.approx(10)
    assert (error.failure.reason, error.failure.attempts) == ("deadlock_detected", 3)


def test_a_failure_of_another_step_is_not_this_policys_to_retry() -> None:
    attempts = Attempts([TransientError(make_failure(step=Step.METRICS, verdict=Verdict.TRANSIENT))])
    assert fail(policy(), attempts).failure.step is Step.METRICS
    assert len(attempts.began) == 1


def test_a_timeout_is_told_in_full() -> None:
    hanging = Attempts([], takes_s=3600)
    failure = fail(policy(max_retries=0, attempt_timeout_s=2, budget_s=60), hanging).failure
    assert failure == Failure(Step.STORE, Verdict.TRANSIENT, "timeout", "the store step used up its attempt of 2 s")
    assert failure.attempts == 1
    budget = fail(policy(max_retries=0, attempt_timeout_s=60, budget_s=2), Attempts([], takes_s=3600)).failure
    assert (budget.verdict, budget.attempts) == (Verdict.TRANSIENT, 1)
