"""The worker's own surroundings: nobody reads its log, or its disk is full."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from keepstream.app.connect.diagnose import listens
from keepstream.app.embedded.service import free_port
from tests.acceptance.conftest import System
from tests.faults.produced_ledger import LedgerProducer, reckon
from tests.faults.report import Row

pytestmark = pytest.mark.real

NOWHERE = {
    "stderr closed": 'exec "$@" 2>&-',
    "log disk full": 'exec "$@" 2>/dev/full',
    "the log's reader gone": 'exec "$@" 2> >(exec true)',
}


def started(redirection: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    argv = ["bash", "-c", redirection, "-", sys.executable, "-P", "-m", "keepstream.app", "worker"]
    return subprocess.Popen(argv, env={**os.environ, **environment}, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "trouble",
    [pytest.param(name, marks=[] if name == "stderr closed" else pytest.mark.long) for name in NOWHERE],
)
def test_a_log_that_goes_nowhere_stops_no_event(
    trouble: str, new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer],
    row: Callable[[str], Row],
) -> None:  # fmt: skip
    nowhere = row(trouble)
    port = free_port()
    system = new_system(KEEPSTREAM_HTTP__PORT=str(port), KEEPSTREAM_LOG__LEVEL="debug", KEEPSTREAM_LOG__FORMAT="auto")
    producer = new_producer(system, broken_every=5)
    with nowhere.active():
        worker = started(NOWHERE[trouble], system.settings())
    try:
        producer.send(500)
        nowhere.recovers(lambda: system.database.totals()["total"] == 500, 60)
        found = reckon(system, producer)
        system.assert_consistent()
        assert listens("127.0.0.1", port)
        worker.terminate()
        assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.wait()
    nowhere.closes(found)


@pytest.mark.parametrize("trouble", NOWHERE)
def test_a_fatal_error_ends_the_worker_also_when_nobody_can_read_why(trouble: str) -> None:
    program = "from keepstream.app.process.exit import exit_fatal; exit_fatal('it had to be')"
    argv = ["bash", "-c", NOWHERE[trouble], "-", sys.executable, "-c", program]
    assert subprocess.run(argv, check=False, timeout=30).returncode == 70
