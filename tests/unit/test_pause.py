"""Holding a batch while the environment is ill. Time is virtual."""

from __future__ import annotations

import pytest

from keepstream.processors.partition_queue import Batch, PartitionRevokedError
from keepstream.processors.pause import Pause
from keepstream.schemas.failure import FencedError, RecordError, SystemicError, TransientError
from tests.builders import make_batch, make_failure, make_record
from tests.fakes import RecordedMetrics
from tests.virtual_time import now, run_virtually

ILL = SystemicError(make_failure(reason="database_unreachable"))


class Environment:
    """Is ill for so many probes; ``at`` says when it was probed."""

    def __init__(self, ill_for: int) -> None:
        self.ill_for = ill_for
        self.at: list[float] = []

    async def __call__(self) -> str:
        self.at.append(now())
        if len(self.at) <= self.ill_for:
            raise ILL
        return "well"


def hold_until_done(environment: Environment, batch: Batch | None = None) -> RecordedMetrics:
    metrics = RecordedMetrics()
    held = Pause(metrics, base_s=1, cap_s=8).until_done(batch or make_batch([make_record()]), environment)
    assert run_virtually(held) == "well"
    return metrics


def test_what_works_is_neither_paused_nor_resumed() -> None:
    metrics = hold_until_done(Environment(0))
    assert (metrics.pauses, metrics.resumptions) == ([], 0)


def test_an_ill_environment_is_waited_for_however_long_it_takes() -> None:
    environment = Environment(500)
    metrics = hold_until_done(environment)
    assert len(environment.at) == 501
    assert (len(metrics.pauses), metrics.resumptions) == (500, 1)


def test_the_waits_between_probes_double_up_to_the_cap() -> None:
    environment = Environment(6)
    hold_until_done(environment)
    waits = [later - earlier for earlier, later in zip(environment.at, environment.at[1:], strict=False)]
    for wait, limit in zip(waits, (1, 2, 4, 8, 8, 8), strict=True):
        assert limit / 2 <= wait <= limit


@pytest.mark.parametrize("way", ["close", "finish"])
def test_a_batch_whose_partition_is_taken_away_is_abandoned_while_it_waits(way: str) -> None:
    batch = make_batch([make_record()])

    async def taken_away() -> str:
        getattr(batch.lane, way)()
        raise ILL

    metrics = RecordedMetrics()
    with pytest.raises(PartitionRevokedError):
        run_virtually(Pause(metrics).until_done(batch, taken_away))
    assert (len(metrics.pauses), metrics.resumptions) == (1, 1)


@pytest.mark.parametrize("way", ["close", "finish"])
def test_waiting_once_ends_with_the_partition_too(way: str) -> None:
    metrics, batch = RecordedMetrics(), make_batch([make_record()])
    getattr(batch.lane, way)()
    with pytest.raises(PartitionRevokedError):
        run_virtually(Pause(metrics).wait(batch, make_failure()))
    assert (len(metrics.pauses), metrics.resumptions) == (1, 1)


def test_a_batch_in_flight_may_still_finish_while_the_worker_stops() -> None:
    batch = make_batch([make_record()])
    batch.lane.finish()
    hold_until_done(Environment(0), batch)


def test_a_closed_lanes_batch_is_not_even_tried() -> None:
    batch, environment = make_batch([make_record()]), Environment(0)
    batch.lane.close()
    with pytest.raises(PartitionRevokedError):
        run_virtually(Pause(RecordedMetrics()).until_done(batch, environment))
    assert environment.at == []


@pytest.mark.parametrize("error", [TransientError(make_failure()), RecordError(make_failure()), FencedError("t", 0, 0)])
@pytest.mark.parametrize("ill_for", [0, 3])
def test_other_errors_pass_through_and_end_the_pause(error: Exception, ill_for: int) -> None:
    probes = iter([ILL] * ill_for)

    async def attempt() -> str:
        raise next(probes, error)

    metrics = RecordedMetrics()
    with pytest.raises(type(error)):
        run_virtually(Pause(metrics).until_done(make_batch([make_record()]), attempt))
    assert metrics.resumptions == min(ill_for, 1)
