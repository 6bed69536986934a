"""Verdicts of database errors, by SQLSTATE.

Sources: PostgreSQL's appendix A (error codes) and 13.5 (serialization failures); Npgsql's ``IsTransient`` and Spring's
``SQLStateSQLExceptionTranslator`` for the classes. Where they disagree: docs/decisions.md, "SQLSTATE verdicts".
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout

from keepstream.schemas.failure import Failure, RecordError, Step, StepError, SystemicError, TransientError, Verdict
from keepstream.sinks.postgres.connection import Pool

_T, _R, _S = Verdict.TRANSIENT, Verdict.RECORD, Verdict.SYSTEMIC

BY_CODE: dict[str, Verdict] = {
    "08P01": _S,  # protocol violation
    "21000": _R,  # two events that are one row of a custom table, as ids of type uuid may be: one after the other works
    "25P02": _T,  # a statement after a failed one
    "25P03": _T,  # idle in transaction
    "25P04": _T,  # transaction timeout
    "25006": _S,  # read-only: a standby after a failover
    "26000": _T,  # a pooler lost our prepared statement
    "0A000": _T,  # "cached plan must not change result type" after DDL
    "55000": _T,
    "55006": _T,
    "55P03": _T,  # lock timeout
    "57014": _T,  # statement timeout
    "P0001": _R,  # raised by a user's trigger
}
BY_CLASS: dict[str, Verdict] = {
    "08": _T,  # connection lost in the middle; failing to connect at all is systemic (see `connect_failure`)
    "22": _R,  # data exception
    "23": _R,  # integrity constraint
    "28": _S,  # authentication
    "3D": _S,  # no such database
    "3F": _S,  # no such schema
    "40": _T,  # serialization, deadlock, outcome unknown
    "42": _S,  # table, column or privilege missing: a migration was forgotten
    "44": _R,  # WITH CHECK OPTION
    "53": _S,  # disk full, out of memory, too many connections
    "54": _R,  # program limit: an index entry too large
    "57": _S,  # shutdown, crash, starting up
    "58": _S,  # I/O
    "XX": _S,  # internal error, corruption
}
_ERRORS: dict[Verdict, type[StepError]] = {_T: TransientError, _R: RecordError, _S: SystemicError}

RACED = "keepstream_raced"
"""The key that sql/settle.sql does not find (SQLSTATE 2203A) where a row has changed while the statement ran."""
_RACE_STATE = "2203A"
_STATEMENT_TIMEOUT = "57014"
_FOREIGN_KEY = "23503"


def verdict_of(sqlstate: str | None) -> Verdict:
    """Return the verdict of a code. Unknown codes are transient: retried a few times, then bisected."""
    if sqlstate is None:
        return Verdict.TRANSIENT
    return BY_CODE.get(sqlstate) or BY_CLASS.get(sqlstate[:2], Verdict.TRANSIENT)


def step_error(error: psycopg.Error, step: Step) -> StepError:
    """Translate a driver error; the message names constraint, column and table, never a value."""
    sqlstate = error.sqlstate
    if sqlstate == _RACE_STATE and RACED in (error.diag.message_primary or ""):
        return raced(step, record_may_cause=True)  # or a trigger suppressed the row: the steps alone distinguish
    verdict = verdict_of(sqlstate)
    may_cause = verdict is _T and _record_may_cause(sqlstate)
    failure = Failure(
        step, verdict, reason_of(error), _message(error), sqlstate, record_may_cause=may_cause,
        row_may_come=sqlstate == _FOREIGN_KEY,
    )  # fmt: skip
    return _ERRORS[verdict](failure)


def raced(step: Step, *, record_may_cause: bool = False) -> TransientError:
    """Return the error for an event that another session wrote while a statement ran."""
    message = "another worker wrote the same event meanwhile"
    return TransientError(Failure(step, _T, "raced", message, record_may_cause=record_may_cause))


def suppressed(step: Step) -> RecordError:
    """Return the error for a row that a trigger suppressed."""
    message = "the row was not written: a trigger of the table events returned NULL for it"
    return RecordError(Failure(step, _R, "row_suppressed", message))


def _record_may_cause(sqlstate: str | None) -> bool:
    """Return whether a record can raise this every time: a statement timeout, or a code of a user's trigger."""
    is_unknown = sqlstate is not None and sqlstate not in BY_CODE and sqlstate[:2] not in BY_CLASS
    return is_unknown or sqlstate == _STATEMENT_TIMEOUT


@asynccontextmanager
async def step_connection(pool: Pool, step: Step) -> AsyncIterator[psycopg.AsyncConnection[tuple[Any, ...]]]:
    """Take a connection from the pool. Errors of the driver are raised as StepError."""
    try:
        connection = await pool.getconn()
    except (PoolTimeout, PoolClosed, psycopg.OperationalError) as error:
        raise connect_failure(error, step) from None
    try:
        yield connection
    except psycopg.Error as error:
        if connection.closed:
            await pool.drain()  # the others are lost too: no attempt must be spent on each
        raise step_error(error, step) from error
    finally:
        await pool.putconn(connection)


def connect_failure(error: Exception, step: Step) -> SystemicError:
    """Return the error for a failed connection, without the driver's text, which may name users and hosts."""
    sqlstate = getattr(error, "sqlstate", None)
    reason = reason_of(error) if sqlstate and isinstance(error, psycopg.Error) else "database_unreachable"
    return SystemicError(Failure(step, _S, reason, "PostgreSQL cannot be reached", sqlstate))


def reason_of(error: psycopg.Error) -> str:
    """Return a stable code: PostgreSQL's own condition name, like ``check_violation``."""
    if error.sqlstate is None:
        return "connection_lost"
    name = type(error).__name__
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _message(error: psycopg.Error) -> str:
    if error.sqlstate is None:
        return "the connection to PostgreSQL was lost"
    diag = error.diag
    named = {"constraint": diag.constraint_name, "column": diag.column_name, "table": diag.table_name}
    where = ", ".join(f'{kind} "{name}"' for kind, name in named.items() if name)
    return f"{reason_of(error).replace('_', ' ')} (SQLSTATE {error.sqlstate}){': ' + where if where else ''}"
