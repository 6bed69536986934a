"""The ledger of replays in every PostgreSQL at hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from keepstream.schemas.replay import DeliveryReport, ReplayOptions, ReplayState
from keepstream.sinks.postgres.replays import UNRESOLVED, PostgresReplayLedger, ReplayBusyError
from tests.real import Database, eventually

pytestmark = pytest.mark.real

_FILL = """
INSERT INTO dead_letters (topic, partition, "offset", step, verdict, reason, message, attempts, first_failed_at,
                          last_failed_at)
SELECT 'events', 0, n, 'store', 'record', 'check_violation', 'no', 1, now(), now() FROM generate_series(0, %s) n"""
OURS = [f"events-0-{offset}" for offset in range(6)]
THEIRS = ['a "letter", of {others}\\', "billing-1-7", "ü-x-1", "events-3000000000-1", "events-0-1@g-9999999999-2",
          "events-0-1@events-0-1", f"events-0-{'9' * 19}"]  # fmt: skip
ENDS = {"events": {0: 5}}


@contextmanager
def ledger_of(database: Database) -> Iterator[PostgresReplayLedger]:
    with database.connect() as connection, closing(PostgresReplayLedger(connection, "event-dlq")) as ledger:
        lock(ledger)
        yield ledger


def lock(ledger: PostgresReplayLedger) -> None:
    """Lock as a replay that is started again: the session of a killed one ends a moment after its connection."""

    def locked() -> bool:
        try:
            ledger.lock()
        except ReplayBusyError:
            return False
        return True

    eventually(locked)


def produced(*letter_ids: str) -> list[DeliveryReport]:
    return [DeliveryReport(letter_id, "events", 0, 100 + number) for number, letter_id in enumerate(letter_ids)]


def test_a_pass_is_offered_what_is_open_and_what_an_earlier_pass_of_its_own_did(any_database: Database) -> None:
    any_database.execute(_FILL, 9)
    everything = [*OURS, *THEIRS]
    with ledger_of(any_database) as ledger:
        run = ledger.begin("{}", "me", ReplayOptions(), {0: 9})
        assert ledger.unresolved(run, everything) == everything
        failed = DeliveryReport(OURS[1], "events", None, None, "no", parked=False)
        parked = DeliveryReport(OURS[2], "event-dlq-parked", 0, 1, parked=True)
        ledger.record(run, [*produced(OURS[0], *THEIRS[:2]), failed, parked])
        assert ledger.unresolved(run, everything) == [*OURS[3:], *THEIRS[2:]]
        again = ledger.resume(run.id)
        assert again is not None
        assert ledger.unresolved(again[0], everything) == everything
        states = ledger.plan(again[0], [OURS[0], OURS[1], OURS[3]], ENDS)
        assert [*states.values()] == [ReplayState.PRODUCED, ReplayState.FAILED, ReplayState.PLANNED]
        other = ledger.begin("{}", "you", ReplayOptions(), {0: 9})
        assert ledger.unresolved(other, everything) == [*OURS[4:], *THEIRS[2:]]  # the run holds 1 and 3
        all_too = ledger.begin("{}", "you", ReplayOptions(resolved_too=True), {0: 9})
        assert ledger.unresolved(all_too, everything) == [OURS[0], OURS[2], *OURS[4:], *THEIRS]
    found = any_database.rows('SELECT "offset", state FROM dead_letters WHERE "offset" < 4 ORDER BY 1')
    assert found == [(0, "produced"), (1, "open"), (2, "discarded"), (3, "open")]


def test_what_was_planned_is_uncertain_until_it_is_recorded_and_the_first_ends_count(any_database: Database) -> None:
    with ledger_of(any_database) as ledger:
        run = ledger.begin("{}", "me", ReplayOptions(), {0: 9})
        ledger.plan(run, [*OURS[:2], *THEIRS[:2]], ENDS)
        ledger.plan(run, OURS[2:4], {"events": {0: 77}, "orders": {0: 1}})
        ledger.record(run, produced(*OURS[:2], THEIRS[0]))
        assert ledger.uncertain(run)[0] == {*OURS[2:4], THEIRS[1]}
    with ledger_of(any_database) as ledger:  # it was killed: nothing is known but what is written
        assert ledger.uncertain(run) == ({*OURS[2:4], THEIRS[1]}, {**ENDS, "orders": {0: 1}})
        ledger.record(run, produced(OURS[2]))
        assert ledger.uncertain(run)[0] == {OURS[3], THEIRS[1]}
        assert ledger.reconcile(run).replayed == 4


def test_a_chunk_is_looked_up_by_key_however_much_the_run_has_done(any_database: Database) -> None:
    any_database.execute(_FILL, 5)
    with ledger_of(any_database) as ledger:
        run = ledger.begin("{}", "me", ReplayOptions(), {0: 9})
        ledger.record(run, produced(*(f"events-0-{offset}" for offset in range(100, 5000))))
        ledger.reconcile(run)
        given = {"ids": json.dumps([*OURS, "x"]), "topics": json.dumps(["events"] * 6 + [None]),
                 "partitions": "{0,0,0,0,0,0,NULL}", "offsets": "{0,1,2,3,4,5,NULL}",
                 "replay_id": run.id, "pass": 1, "resolved_too": False}  # fmt: skip
        explained = ledger.connection.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + UNRESOLVED, given).fetchall()
    read = [node["Actual Rows"] for node in nodes(explained[0][0]) if node.get("Relation Name") == "replay_letters"]
    assert read
    assert max(read) <= 1


def nodes(plan: Any) -> Iterator[dict[str, Any]]:
    """Yield every node of a plan."""
    if isinstance(plan, list):
        for part in plan:
            yield from nodes(part)
    elif isinstance(plan, dict):
        yield plan
        yield from nodes([*plan.values()])


def test_ids_of_others_are_settled_and_are_no_keys_of_ours(any_database: Database) -> None:
    any_database.execute(_FILL, 9)
    any_database.execute(
        "INSERT INTO stream_offsets (topic, partition, next_offset, first_offset) VALUES ('events', 0, 1000, 0)"
    )
    with ledger_of(any_database) as ledger:
        run = ledger.begin("{}", "me", ReplayOptions(), {0: 9})
        ledger.record(run, produced(OURS[0], *THEIRS))
        ledger.settle()
        assert ledger.reconcile(run).delivered == 1 + len(THEIRS)
    found = any_database.rows('SELECT "offset", state FROM dead_letters WHERE "offset" < 2 ORDER BY 1')
    assert found == [(0, "settled"), (1, "open")]
