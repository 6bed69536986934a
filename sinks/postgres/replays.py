"""Ledger of replays in PostgreSQL, on one connection, which also holds the lock of the topic; a pooler needs two."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.errors import LockNotAvailable

from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import parse_record_id
from keepstream.schemas.replay import DeliveryReport, Reconciliation, ReplayOptions, ReplayRun, ReplayState
from keepstream.sinks.postgres.connection import Connection
from keepstream.sinks.postgres.dead_letters import clean_text
from keepstream.sinks.postgres.pooled_connection import SessionConnection, set_more
from keepstream.sinks.postgres.statements import statement

_parse = lru_cache(16_384)(parse_record_id)
"""Caches parsed ids: a chunk is parsed once for the query and once for the update."""
PLAN = statement("replay_plan")
RECORD = statement("replay_record")
UNRESOLVED = statement("replay_unresolved")
SETTLE = statement("replay_settle")

_LOCK_KEY = "hashtextextended('keepstream replay of ' || %s, 0)"
_BEGIN = """
INSERT INTO replays (dlq_topic, selection, started_by, options, dlq_ends)
VALUES (%s, %s, %s, %s, %s) RETURNING id"""
_RESUME = """
UPDATE replays SET passes = passes + 1, state = 'running', finished_at = NULL
WHERE id = %s AND dlq_topic = %s RETURNING selection, options, dlq_ends, passes"""
_FINISH = """
UPDATE replays SET state = %s, selected = %s, replayed = %s, skipped = %s, failed = %s, finished_at = now(),
                   planned = '{}'
WHERE id = %s"""
_STATES = """
SELECT state, count(*) FROM replay_letters WHERE replay_id = %s AND seen_in_pass = (
    SELECT passes FROM replays WHERE id = %s) GROUP BY state"""
SET_PLANNED = statement("replay_set_planned")
_EDITED = """
SELECT letter_id, edited_value FROM replay_letters WHERE replay_id = %s AND edited_value IS NOT NULL"""
_INTERRUPTED = """
SELECT id FROM replays
WHERE dlq_topic = %s AND (planned <> '{}' OR EXISTS (
    SELECT FROM replay_letters WHERE replay_id = id AND replay_letters.state = 'planned'))
ORDER BY id"""
_INSERT_EDIT = """
INSERT INTO replay_letters (replay_id, letter_id, state, seen_in_pass, edited_value)
VALUES (%s, %s, 'planned', 0, %s)"""


class ReplayBusyError(RuntimeError):
    """Another replay of the same dead letter topic is running."""


@dataclass(slots=True)
class PostgresReplayLedger:
    """`ReplayLedger` in PostgreSQL. Raises psycopg errors: without its ledger a replay must stop.

    PostgreSQL records a chunk while the next one is read; the next method called waits for it and raises its error.
    """

    connection: Connection
    dlq_topic: str
    lock_connection: SessionConnection | None = None
    """Holds the lock in an open transaction, behind a pooler: a lock of a session would stay in another's hands."""
    _locked: ExitStack = field(default_factory=ExitStack)
    _edits: dict[str, bytes] | None = None
    _planned: dict[str, None] = field(default_factory=dict)
    """Copy of the run's row, so that a chunk's statements need not read it."""
    _recording: Future[object] | None = None
    _recorder: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "replay-ledger"))

    def close(self) -> None:
        """End the thread that records, once it has recorded, and release the lock. The connections are the caller's."""
        self._recorder.shutdown()
        with suppress(psycopg.Error):  # its connection is lost, and the lock with it
            self._locked.close()

    def __post_init__(self) -> None:
        # All queries are by key: an estimate of few rows must not become a sequential scan per chunk.
        # The cost of a disabled scan would trigger compilation.
        set_more(self.connection, {"enable_seqscan": "off", "jit": "off"})

    def lock(self) -> None:
        """Take the advisory lock of this topic's replays, until `unlock` or disconnection. Raises ReplayBusyError."""
        holder = self.lock_connection
        if holder is None:
            taken = self._rows(f"SELECT pg_try_advisory_lock({_LOCK_KEY})", [self.dlq_topic])[0][0]
        else:
            self._locked.enter_context(holder.transaction())
            holder.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            query = f"SELECT pg_try_advisory_xact_lock({_LOCK_KEY})"
            taken = holder.execute(query, [self.dlq_topic]).fetchall()[0][0]
        if not taken:
            self._locked.close()
            raise ReplayBusyError(f"another replay of {self.dlq_topic} is running")

    def unlock(self) -> None:
        """Release the lock: the next replay of this topic may begin."""
        self._recorded()
        if self.lock_connection is None:
            self._rows(f"SELECT pg_advisory_unlock({_LOCK_KEY})", [self.dlq_topic])
        else:
            self._locked.close()

    def begin(self, selection: str, started_by: str, options: ReplayOptions, ends: Mapping[int, int]) -> ReplayRun:
        """Insert a new run: its selection (JSON), user and options, and the ends of the dead letter topic."""
        given = [self.dlq_topic, selection, started_by, json.dumps(asdict(options)), json.dumps(ends)]
        return ReplayRun(self._rows(_BEGIN, given)[0][0], 1, dict(ends), options)

    def resume(self, replay_id: int) -> tuple[ReplayRun, dict[str, Any]] | None:
        """Begin the next pass of a run; return it with its selection, or None when this topic has no such run."""
        rows = self._rows(_RESUME, [replay_id, self.dlq_topic])
        if not rows:
            return None
        selection, options, ends, passes = rows[0]
        options["changes"] = tuple(tuple(pair) for pair in options["changes"])
        run = ReplayRun(replay_id, passes, {int(p): end for p, end in ends.items()}, ReplayOptions(**options))
        return run, selection

    def unresolved(self, run: ReplayRun, dead_letter_ids: Sequence[str]) -> list[str]:
        given = {
            "ids": json.dumps(dead_letter_ids), **_keys(dead_letter_ids), "replay_id": run.id, "pass": run.pass_number,
            "resolved_too": run.options.resolved_too,
        }  # fmt: skip
        taken = {row[0] for row in self._rows(UNRESOLVED, given)}
        return [name for name in dead_letter_ids if name not in taken]

    def plan(
        self, run: ReplayRun, dead_letter_ids: Sequence[str], ends: dict[str, dict[int, int]]
    ) -> dict[str, ReplayState]:
        states = dict.fromkeys(dead_letter_ids, ReplayState.PLANNED)
        if run.pass_number > 1 or self.edited(run):
            given = {"dead_letter_ids": [*dead_letter_ids], "replay_id": run.id, "pass": run.pass_number}
            states |= {letter_id: ReplayState(state) for letter_id, state in self._rows(PLAN, given)}
        due = (ReplayState.PLANNED, ReplayState.FAILED)
        self._planned.update(dict.fromkeys(letter_id for letter_id, state in states.items() if state in due))
        self._rows(
            SET_PLANNED, {"planned": json.dumps([*self._planned]), "ends": json.dumps(ends), "replay_id": run.id}
        )
        if self.lock_connection is not None:
            # Raises where the lock is lost. Asked after the plan is committed, which a replay that has it now has read.
            self.lock_connection.execute("SELECT")
        return states

    def uncertain(self, run: ReplayRun) -> tuple[set[str], dict[str, dict[int, int]]]:
        dead_letters, ends = self._rows("SELECT planned, target_ends FROM replays WHERE id = %s", [run.id])[0]
        self._planned = dict.fromkeys(dead_letters)
        return {*dead_letters}, {topic: {int(p): end for p, end in found.items()} for topic, found in ends.items()}

    def record(self, run: ReplayRun, sent: Sequence[DeliveryReport]) -> None:
        for dead_letter in sent:
            self._planned.pop(dead_letter.dead_letter_id, None)
        given = {**_reports(sent), "planned": json.dumps([*self._planned]),
                 "replay_id": run.id, "pass": run.pass_number}  # fmt: skip
        self._recorded()
        self._recording = self._recorder.submit(self.connection.execute, RECORD, given)

    def remember_edit(self, run: ReplayRun, dead_letter: DeadLetterRecord, value: bytes) -> None:
        """Store an edited value, so that a resume produces the same."""
        self.connection.execute(_INSERT_EDIT, [run.id, dead_letter.id, value])
        self._edits = None

    def edited(self, run: ReplayRun) -> dict[str, bytes]:
        if self._edits is None:
            self._edits = dict(self._rows(_EDITED, [run.id]))
        return self._edits

    def interrupted(self) -> list[int]:
        """Return the replays with planned dead letters, which only their resume will produce."""
        return [row[0] for row in self._rows(_INTERRUPTED, [self.dlq_topic])]

    def settle(self) -> None:
        """Update the outcome of everything that replays produced so far.

        Where another replay has locked some of the rows, the next call updates them.
        """
        self._recorded()
        with suppress(LockNotAvailable), self.connection.transaction():
            self.connection.execute("SET LOCAL lock_timeout = '200ms'")  # sooner than a deadlock is found
            self.connection.execute(SETTLE)

    def reconcile(self, run: ReplayRun) -> Reconciliation:
        counts = dict(self._rows(_STATES, [run.id, run.id]))
        delivered, again = counts.get("settled", 0), counts.get("dead_again", 0)
        return Reconciliation(
            replayed=counts.get("produced", 0) + delivered + again, skipped=counts.get("parked", 0),
            failed=counts.get("failed", 0), delivered=delivered, dead_again=again,
        )  # fmt: skip

    def finish(self, run: ReplayRun, result: Reconciliation, *, cancelled: bool) -> None:
        """Close the run's row."""
        state = "cancelled" if cancelled else "finished"
        given = [state, result.selected, result.replayed, result.skipped, result.failed, run.id]
        self._recorded()
        self.connection.execute(_FINISH, given)

    def _rows(self, query: Any, given: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
        self._recorded()
        return self.connection.execute(query, given).fetchall()

    def _recorded(self) -> None:
        """Wait for the statement that records the last chunk. Raises its error."""
        if self._recording is not None:
            recording, self._recording = self._recording, None
            recording.result()


def _reports(sent: Sequence[DeliveryReport]) -> dict[str, str]:
    """Return the delivery reports as one array per column."""
    ids = [dead_letter.dead_letter_id for dead_letter in sent]
    return {
        "ids": json.dumps(ids), **_keys(ids), "states": json.dumps([dead_letter.state for dead_letter in sent]),
        "target_topics": json.dumps([dead_letter.topic for dead_letter in sent]),
        "target_partitions": _numbers([dead_letter.partition for dead_letter in sent]),
        "target_offsets": _numbers([dead_letter.offset for dead_letter in sent]),
        "errors": json.dumps([dead_letter.error for dead_letter in sent]),
    }  # fmt: skip


def _keys(dead_letter_ids: Sequence[str]) -> dict[str, str]:
    """Return ids as keys of the table dead_letters, NULL for those of other systems."""
    keys = [*map(_parse, dead_letter_ids)]
    return {
        "topics": json.dumps([topic and clean_text(topic) for topic, _, _ in keys]),
        "partitions": _numbers([partition for _, partition, _ in keys]),
        "offsets": _numbers([offset for _, _, offset in keys]),
    }  # fmt: skip


def _numbers(numbers: Iterable[int | None]) -> str:
    """Write an array as PostgreSQL reads it. Many times as fast as psycopg's own, which does it number by number."""
    return f"{{{','.join(['NULL' if number is None else str(number) for number in numbers])}}}"
