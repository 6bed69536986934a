"""What the demo says of its backlog: a rate only where it lasted long enough to be one of the worker."""

from __future__ import annotations

import pytest

from keepstream.app.cli.demo import _show
from keepstream.app.demo.proof import Proof

TOO_SHORT = "from first to last commit (too short for a rate: try --events 200000)\n"


@pytest.mark.parametrize(
    ("events", "seconds", "said"),
    [
        (180_000, 2.0, "Backlog: 180,000 events in 2.00 s from first to last commit: 90,000 events/s\n"),
        (8_000, 0.08, f"Backlog: 8,000 events in 0.08 s {TOO_SHORT}"),
        (0, 0.0, f"Backlog: 0 events in 0.00 s {TOO_SHORT}"),
    ],
)  # fmt: skip
def test_a_backlog_that_is_drained_at_once_has_no_rate(
    events: int, seconds: float, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _show(Proof([], [], events, seconds, p50_s=0.01, p99_s=0.02, exact_commit_times=True), as_json=False)
    assert said in capsys.readouterr().out
