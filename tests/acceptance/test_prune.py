"""``keepstream db prune`` beside a live worker: the audit still holds, and still finds what was lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.acceptance.conftest import System
from tests.builders import make_value

pytestmark = pytest.mark.real


def ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat().replace("+00:00", "Z")


def test_what_was_pruned_is_not_taken_for_lost_and_what_is_lost_still_is(system: System) -> None:
    old = [make_value(event_id=f"old-{i}", timestamp=ago(100)) for i in range(300)]
    new = [make_value(event_id=f"new-{i}", timestamp=ago(1)) for i in range(300)]
    system.produce([*old, *new, *old[:20], b"broken"])
    system.start_worker()
    system.settled(621)
    assert "300" in system.cli("db", "prune", "--until", "90d", "--dry-run").stderr
    assert "--yes" in system.cli("db", "prune", "--until", "90d", exit_code=5).stderr
    assert system.database.value("SELECT count(*) FROM events") == 600
    assert "300 rows deleted" in system.cli("db", "prune", "--until", "90d", "--yes").stderr
    assert system.database.value("SELECT count(*) FROM events") == 300
    system.assert_consistent()
    done = system.cli("audit", "--deep")
    assert "ok   delivered = rows in events + pruned: 600 = 600" in done.stdout
    assert "are not checked" in done.stderr
    system.database.execute("DELETE FROM events WHERE event_id = 'new-7'")
    assert "new-7" in system.cli("audit", "--deep", exit_code=1).stdout


def test_the_worker_goes_on_while_rows_go(system: System) -> None:
    system.produce(make_value(timestamp=ago(100)) for _ in range(5000))
    system.start_worker()
    for _ in range(5):
        system.cli("db", "prune", "--until", "90d", "--yes")
    system.settled(5000, 90)
    system.cli("db", "prune", "--until", "90d", "--yes")
    assert system.database.value("SELECT count(*) FROM events") == 0
    assert system.database.value("SELECT sum(rows) FROM pruned_events") == 5000
    system.assert_consistent()


def test_a_bound_in_the_future_is_refused(system: System) -> None:
    assert "future" in system.cli("db", "prune", "--until", "2999-01-01T00:00:00Z", "--yes", exit_code=2).stderr
