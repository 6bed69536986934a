"""``keepstream tables``: the trigger that fills a table of the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from keepstream.app.cli.each_topic import EachTopic
from keepstream.app.cli.output import check_confirmable, json_option, notify, print_json, print_rows
from keepstream.app.cli.topic_option import only_topic_option, prefix_of
from keepstream.app.errors import REFUSED, KeepstreamError

if TYPE_CHECKING:
    from keepstream.app.config.table import TableSettings
    from keepstream.app.connect.services import Services
    from keepstream.sinks.postgres.connection import Connection
    from keepstream.sinks.postgres.tables.plan import Plan

_NOTHING = "nothing was changed"
_CORRECT = "correct the settings or the table: docs/tables.md"


@click.group()
def tables() -> None:
    """Fill tables of your own, by settings: docs/tables.md."""


@tables.command(epilog="Example: keepstream tables plan || keepstream tables apply --yes")
@only_topic_option
@json_option
def plan(*, as_json: bool) -> None:
    """Print the SQL that fills the table of the settings. Exit 0 when it is in place, 1 when not.

    It compares the settings with the table and with what fills it now. A table that could not be filled as the
    settings say is refused, with the reasons.
    """
    topics = EachTopic()
    for topic, own in topics:
        with topics.errors_of(topic):
            found = _plan(own)
            if as_json:
                print_json(_row(own, found) | _parts(found))
            else:
                click.echo(_script(own, found), nl=False)
            _check(found)
            if found.statements:
                message = f"{found.table or 'what fills a table'} is not as the settings say"
                hint = "run `keepstream tables apply`, as the owner of keepstream's tables"
                raise KeepstreamError("table_differs", message, hint)
            notify(prefix_of(topic) + _up_to_date(found))
    topics.end()


@tables.command(epilog="Example: KEEPSTREAM_POSTGRES__URL=$OWNER_URL keepstream tables apply")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@only_topic_option
@json_option
def apply(*, yes: bool, as_json: bool) -> None:
    """Do what `keepstream tables plan` prints, as the owner of keepstream's tables. Workers may run.

    It shows the SQL and asks. Each topic is one transaction. Without a table in the settings it removes the trigger.
    """
    topics, rows = EachTopic(), []
    for topic, own in topics:
        with topics.errors_of(topic):
            found = _plan(own)
            _check(found)
            if found.statements:
                _confirm(own, found, yes=yes)
                _apply(own, found)
            else:
                notify(prefix_of(topic) + _up_to_date(found))
            rows.append(_row(own, found) | ({"state": "applied"} if found.statements else {}))
    print_rows(rows, as_json=as_json)
    topics.end()


def table_findings(connection: Connection, settings: TableSettings) -> Iterator[tuple[str, str, str]]:
    """Yield what `keepstream doctor` says of a topic's table: state, observation and fix."""
    from keepstream.sinks.postgres.tables.plan import make_plan

    found = make_plan(connection, settings.definition(), role=None)
    yield from (("fail", problem, _CORRECT) for problem in found.problems)
    for difference in found.differences:
        state = "fail" if found.table else "warn"
        seen = f"{found.table or 'no table'}: {difference.splitlines()[0].removesuffix(':')}"
        yield state, seen, "run `keepstream tables plan`, then `keepstream tables apply`"
    yield from (("warn", note, "") for note in found.notes)
    if found.table and not (found.problems or found.differences):
        yield "ok", f"{found.table} is filled as the settings say", ""


def _plan(services: Services) -> Plan:
    from keepstream.sinks.postgres.tables.plan import make_plan

    with services.postgres() as connection:
        return make_plan(connection, services.settings.table.definition())


def _check(found: Plan) -> None:
    """Raise KeepstreamError where the table cannot be filled as the settings say."""
    if found.problems:
        raise KeepstreamError("table_refused", "\n       ".join(found.problems), _CORRECT)


def _confirm(services: Services, found: Plan, *, yes: bool) -> None:
    """Show the SQL and ask. Raises KeepstreamError (5) for another answer than yes."""
    notify(_script(services, found).rstrip())
    check_confirmable(yes=yes)
    if not yes and not click.confirm("Apply this?", err=True):
        raise KeepstreamError("refused", _NOTHING, exit_code=REFUSED)


def _apply(services: Services, shown: Plan) -> None:
    """Apply a plan. Raises KeepstreamError where it is another one by now, or events is locked."""
    import psycopg

    from keepstream.sinks.postgres.tables.plan import ChangedMeanwhileError, apply_plan

    settings = services.settings
    lock_timeout_s = settings.postgres.lock_timeout_s
    with services.postgres() as connection:
        try:
            apply_plan(connection, settings.table.definition(), shown, lock_timeout_s)
        except ChangedMeanwhileError:
            message = f"{shown.table or 'what fills a table'} was changed meanwhile by others"
            raise KeepstreamError("table_changed", f"{message}; {_NOTHING}", "run it again") from None
        except psycopg.errors.LockNotAvailable:
            message = f"another session has locked events for {lock_timeout_s:g} s"
            raise KeepstreamError("events_locked", f"{message}; {_NOTHING}", "run it again") from None


def _row(services: Services, found: Plan) -> dict[str, object]:
    state = "refused" if found.problems else "differs" if found.statements else "up_to_date" if found.table else "none"
    return {"topic": services.settings.kafka.topic, "table": found.table, "state": state}


def _parts(found: Plan) -> dict[str, object]:
    lists = {"problems": found.problems, "differences": found.differences, "notes": found.notes}
    return {**{name: [*values] for name, values in lists.items()}, "sql": found.script}


def _script(services: Services, found: Plan) -> str:
    """Return the SQL below what is said about it, as comments: so the whole is what psql takes."""
    said = [*found.differences, *(f"note: {note}" for note in found.notes)]
    of = f"{services.settings.kafka.topic} -> {found.table or 'no table'}"
    lines = [line for one in said for line in f"{of}: {one}".splitlines()]
    return "".join(f"-- {line}\n" for line in lines) + found.script


def _up_to_date(found: Plan) -> str:
    if found.table:
        return f"up to date: {found.table} is filled as the settings say"
    return "the settings name no table: docs/tables.md"
