"""Whose fault a database error is."""

from __future__ import annotations

from types import SimpleNamespace

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from keepstream.schemas.failure import Failure, RecordError, Step, StepError, SystemicError, TransientError, Verdict
from keepstream.sinks.postgres.errors import connect_failure, reason_of, step_error, verdict_of

T, R, S = Verdict.TRANSIENT, Verdict.RECORD, Verdict.SYSTEMIC
KINDS = {T: TransientError, R: RecordError, S: SystemicError}

TABLE = [
    ("08000", T), ("08003", T), ("08006", T), ("08P01", S), ("0A000", T), ("21000", R), ("22001", R), ("22003", R),
    ("22007", R), ("22008", R), ("22021", R), ("22023", R), ("22P02", R), ("22P05", R), ("23502", R), ("23503", R),
    ("23505", R), ("23514", R), ("23P01", R), ("25006", S), ("25P02", T), ("25P03", T), ("26000", T), ("28000", S),
    ("28P01", S), ("3D000", S), ("3F000", S), ("40001", T), ("40003", T), ("40P01", T), ("42501", S), ("42601", S),
    ("42703", S), ("42P01", S), ("42804", S), ("44000", R), ("53100", S), ("53200", S), ("53300", S), ("54000", R),
    ("54001", R), ("55000", T), ("55006", T), ("55P03", T), ("57014", T), ("57P01", S), ("57P02", S), ("57P03", S),
    ("58030", S), ("P0001", R), ("XX000", S), ("XX001", S),
]  # fmt: skip


def error_of(sqlstate: str) -> psycopg.Error:
    return psycopg.errors.lookup(sqlstate)('value "s3cret" for user bob at 10.0.0.1')


@pytest.mark.parametrize(("sqlstate", "verdict"), TABLE)
def test_each_code_has_its_verdict(sqlstate: str, verdict: Verdict) -> None:
    error = step_error(error_of(sqlstate), Step.STORE)
    assert type(error) is KINDS[verdict]
    assert (error.failure.verdict, error.failure.sqlstate) == (verdict, sqlstate)


def test_only_a_foreign_key_may_hold_later() -> None:
    found = {sqlstate for sqlstate, _ in TABLE if step_error(error_of(sqlstate), Step.STORE).failure.row_may_come}
    assert found == {"23503"}


@pytest.mark.parametrize("sqlstate", [None, "99999", "ABCDE", "P0004"])
def test_what_is_unknown_is_tried_again(sqlstate: str | None) -> None:
    assert verdict_of(sqlstate) is T


@pytest.mark.parametrize("sqlstate", [sqlstate for sqlstate, _ in TABLE] + ["22012"])
def test_no_message_holds_a_value(sqlstate: str) -> None:
    failures = [step_error(error_of(sqlstate), Step.STORE), connect_failure(error_of(sqlstate), Step.STORE)]
    for error in failures:
        for word in ("s3cret", "bob", "10.0.0.1"):
            assert word not in repr(error.failure) + str(error)


@pytest.mark.parametrize("sqlstate", ["22012", "2203A"])
def test_what_somebodys_own_sql_raises_is_the_records_fault(sqlstate: str) -> None:
    assert isinstance(step_error(error_of(sqlstate), Step.STORE), RecordError)


class Raced(psycopg.errors.SqlJsonMemberNotFound):
    """Our own, as a server with another language words it."""

    diag = SimpleNamespace(message_primary="JSON-Objekt enthält den Schlüssel »keepstream_raced« nicht")  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("sqlstate", "may_cause"),
    [
        ("57014", True), ("P0004", True), ("72000", True),
        ("40P01", False), ("40001", False), ("55P03", False), ("08006", False), ("0A000", False), ("26000", False),
    ],
)  # fmt: skip
def test_a_record_can_cause_a_timeout_but_no_lost_connection_and_no_lock(sqlstate: str, may_cause: bool) -> None:
    assert step_error(error_of(sqlstate), Step.STORE).failure.record_may_cause is may_cause
    assert not step_error(psycopg.OperationalError("lost"), Step.STORE).failure.record_may_cause


def test_an_error_without_a_code_is_a_lost_connection() -> None:
    error = step_error(psycopg.OperationalError("server closed the connection s3cret"), Step.STORE)
    assert isinstance(error, TransientError)
    assert error.failure.reason == "connection_lost"
    assert error.failure.message == "the connection to PostgreSQL was lost"


@pytest.mark.parametrize(
    ("sqlstate", "reason"),
    [("23514", "check_violation"), ("40P01", "deadlock_detected"), ("53300", "too_many_connections")],
)
def test_a_reason_is_postgresqls_own_name(sqlstate: str, reason: str) -> None:
    assert reason_of(error_of(sqlstate)) == reason
    expected = f"{reason.replace('_', ' ')} (SQLSTATE {sqlstate})"
    assert step_error(error_of(sqlstate), Step.STORE).failure.message == expected


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PoolTimeout("no connection for bob"), "database_unreachable"),
        (psycopg.OperationalError("connection refused"), "database_unreachable"),
        (error_of("28P01"), "invalid_password"),
        (error_of("53300"), "too_many_connections"),
    ],
)
def test_failing_to_connect_is_the_environments_fault(error: Exception, reason: str) -> None:
    found: StepError = connect_failure(error, Step.STORE)
    assert isinstance(found, SystemicError)
    assert (found.failure.reason, found.failure.message) == (reason, "PostgreSQL cannot be reached")


class CheckRefused(psycopg.errors.CheckViolation):
    """An error as the server words it: psycopg fills ``diag`` from a connection only."""

    diag = SimpleNamespace(constraint_name="affordable", column_name="amount", table_name="events")  # type: ignore[assignment]


def test_a_message_names_what_the_server_names() -> None:
    failure = step_error(CheckRefused("no"), Step.METRICS).failure
    where = 'constraint "affordable", column "amount", table "events"'
    assert failure == Failure(Step.METRICS, R, "check_refused", f"check refused (SQLSTATE 23514): {where}", "23514")


def test_a_race_is_told_in_full() -> None:
    assert step_error(Raced("no"), Step.STORE).failure == Failure(
        Step.STORE, T, "raced", "another worker wrote the same event meanwhile", record_may_cause=True
    )


def test_a_failed_connection_is_told_in_full() -> None:
    assert connect_failure(error_of("53300"), Step.METRICS).failure == Failure(
        Step.METRICS, S, "too_many_connections", "PostgreSQL cannot be reached", "53300"
    )
    assert connect_failure(OSError("no"), Step.STORE).failure == Failure(
        Step.STORE, S, "database_unreachable", "PostgreSQL cannot be reached", None
    )
