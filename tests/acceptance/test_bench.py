"""The floor of the benchmarks, keepstream's statement without a worker around it, goes along with that statement."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.contestant import Contestant, Course
from benchmarks.events import Backlog, fill
from benchmarks.roster import FLOORS
from tests.real import Database, Servers, eventually

EVENTS = 1000


@pytest.mark.parametrize("floor", [FLOORS[0], FLOORS[2]], ids=lambda floor: floor.name)
def test_the_floor_settles_a_backlog(servers: Servers, database: Database, floor: Contestant, tmp_path: Path) -> None:
    backlog = Backlog(EVENTS, partitions=2, name=f"bench_{database.schema}")
    fill(servers.bootstrap_servers, backlog)
    course = Course(servers.bootstrap_servers, database.url, database.schema, backlog, True, tmp_path)
    process = floor.start(course)
    try:
        eventually(lambda: database.totals()["delivered"] == EVENTS, what=floor.name)
    finally:
        process.stop(timeout_s=15)
    assert database.value("SELECT count(*) FROM events") == EVENTS
