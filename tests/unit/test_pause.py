"""Pausing a partition while its environment is unavailable. Time is virtual."""

from __future__ import annotations

import pytest

from keepstream.app.testing.memory import RecordedMetrics
from keepstream.processors.partition_queue import PartitionQueue, PartitionRevokedError
from keepstream.processors.pause import Pause
from keepstream.schemas.failure import FencedError, RecordError, SystemicError, TransientError
from tests.builders import make_batch, make_failure, make_record
from tests.virtual_time import now, run_virtually

UNAVAILABLE = SystemicError(make_failure(reason="database_unreachable"))


class Environment:
    """Is unavailable for so many attempts, which ``at`` lists by their time."""

    def __init__(self, down_for: int) -> None:
        self.down_for = down_for
        self.at: list[float] = []

    async def __call__(self) -> str:
        self.at.append(now())
        if len(self.at) <= self.down_for:
            raise UNAVAILABLE
        return "done"


def make_queue() -> PartitionQueue:
    return make_batch([make_record()]).queue


def retry_until_healthy(environment: Environment, queue: PartitionQueue | None = None) -> RecordedMetrics:
    metrics = RecordedMetrics()
    paused = Pause(metrics, base_s=1, cap_s=8).retry_until_healthy(queue or make_queue(), environment)
    assert run_virtually(paused) == "done"
    return metrics


def test_what_works_is_neither_paused_nor_resumed() -> None:
    metrics = retry_until_healthy(Environment(0))
    assert (metrics.pauses, metrics.resumptions) == ([], 0)


def test_an_unavailable_environment_is_waited_for_however_long_it_takes() -> None:
    environment = Environment(500)
    metrics = retry_until_healthy(environment)
    assert len(environment.at) == 501
    assert (len(metrics.failures), len(metrics.pauses), metrics.resumptions) == (500, 1, 1)


def test_the_queue_is_paused_with_the_latest_reason_until_the_attempt_works() -> None:
    queue, seen = make_queue(), list[str | None]()
    errors = [SystemicError(make_failure(reason=reason)) for reason in ("database_unreachable", "disk_full")]

    async def attempt() -> None:
        seen.append(queue.paused.reason if queue.paused else None)
        if errors:
            raise errors.pop(0)

    run_virtually(Pause(RecordedMetrics()).retry_until_healthy(queue, attempt))
    assert seen == [None, "database_unreachable", "disk_full"]
    assert queue.paused is None


def test_the_waits_between_probes_double_up_to_the_cap() -> None:
    environment = Environment(6)
    retry_until_healthy(environment)
    waits = [later - earlier for earlier, later in zip(environment.at, environment.at[1:], strict=False)]
    for wait, limit in zip(waits, (1, 2, 4, 8, 8, 8), strict=True):
        assert limit / 2 <= wait <= limit


@pytest.mark.parametrize("way", ["close", "finish"])
def test_a_batch_whose_partition_is_taken_away_is_abandoned_while_it_waits(way: str) -> None:
    queue = make_queue()

    async def taken_away() -> str:
        getattr(queue, way)()
        raise UNAVAILABLE

    metrics = RecordedMetrics()
    with pytest.raises(PartitionRevokedError):
        run_virtually(Pause(metrics).retry_until_healthy(queue, taken_away))
    assert queue.paused is None
    assert len(metrics.pauses) == metrics.resumptions


@pytest.mark.parametrize("way", ["close", "finish"])
def test_waiting_once_ends_with_the_partition_too(way: str) -> None:
    metrics, queue = RecordedMetrics(), make_queue()
    getattr(queue, way)()
    with pytest.raises(PartitionRevokedError):
        run_virtually(Pause(metrics).once(queue, make_failure()))
    assert queue.paused is None
    assert len(metrics.pauses) == metrics.resumptions


def test_a_batch_in_flight_may_still_finish_while_the_worker_stops() -> None:
    queue = make_queue()
    queue.finish()
    retry_until_healthy(Environment(0), queue)


def test_a_closed_queues_batch_is_not_even_tried() -> None:
    queue, environment = make_queue(), Environment(0)
    queue.close()
    with pytest.raises(PartitionRevokedError):
        run_virtually(Pause(RecordedMetrics()).retry_until_healthy(queue, environment))
    assert environment.at == []


@pytest.mark.parametrize("error", [TransientError(make_failure()), RecordError(make_failure()), FencedError("t", 0, 0)])
@pytest.mark.parametrize("down_for", [0, 3])
def test_other_errors_pass_through_and_end_the_pause(error: Exception, down_for: int) -> None:
    probes = iter([UNAVAILABLE] * down_for)

    async def attempt() -> str:
        raise next(probes, error)

    metrics = RecordedMetrics()
    with pytest.raises(type(error)):
        run_virtually(Pause(metrics).retry_until_healthy(make_queue(), attempt))
    assert metrics.resumptions == min(down_for, 1)
