"""The checks of `keepstream doctor` in PostgreSQL: each server once, and each topic's tables."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from keepstream.app.cli.finding import Finding
from keepstream.app.cli.topic_option import SEPARATE_TOPICS

if TYPE_CHECKING:
    import psycopg

    from keepstream.app.connect.services import Services
    from keepstream.sinks.postgres.pooled_connection import SessionConnection

CLOCK_SKEW_LIMIT_S = 5.0
POSTGRES_TIMEOUT_S = 2
"""A server that does not answer in this time is reported as away."""
Topics = Mapping[str, "Services"]


def by_database(services: Services) -> dict[str | None, Topics]:
    """Return the topics whose tables are in one database, by their names; None where there is one database."""
    found: dict[object, dict[str, Services]] = {}
    for topic, own in services.by_topic().items():
        postgres = own.settings.postgres
        found.setdefault((postgres.url, postgres.password_file), {})[topic] = own
    return {", ".join(topics) if len(found) > 1 else None: topics for topics in found.values()}


def check_database(topics: Topics, services: Services) -> Iterator[Finding]:
    """Check the server once, and the tables of each topic."""
    several = len(services.settings.topics) > 1
    for number, (topic, own) in enumerate(topics.items()):
        with own.postgres(POSTGRES_TIMEOUT_S) as connection:
            if number == 0:
                yield from _server(connection)
            yield from _tables(connection, own, topic if several else None)


def _server(connection: SessionConnection) -> Iterator[Finding]:
    query = ("SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), extract(epoch FROM now()), "
             "current_setting('server_encoding')")  # fmt: skip
    version, standby, now_s, encoding = connection.execute(query).fetchall()[0]
    yield _version(int(version), is_pooled=connection.pooled is not None)
    at = connection.info
    seen = f"{at.dbname} at {at.host}:{at.port}, user {at.user}, encoded in {encoding}"
    yield Finding("database", "ok", seen)
    if standby:
        yield Finding("postgres", "fail", "a read-only standby", "add target_session_attrs=read-write to the URL")
    skew_s = abs(float(now_s) - time.time())
    yield Finding(
        "clock", "ok" if skew_s < CLOCK_SKEW_LIMIT_S else "warn", f"differs from PostgreSQL's by {skew_s:.1f} s",
        "" if skew_s < CLOCK_SKEW_LIMIT_S else "synchronise clocks; latencies in the metrics will be wrong",
    )  # fmt: skip


def _tables(connection: SessionConnection, services: Services, topic: str | None) -> Iterator[Finding]:
    from keepstream.app.cli.custom_tables import table_findings
    from keepstream.sinks.postgres.status import other_topics

    state, seen, fix = _migrations(connection)
    yield Finding("tables", state, seen, fix, topic)
    if state != "ok":
        return
    settings = services.settings
    others = "" if settings.postgres.allow_other_topics else ", ".join(other_topics(connection, settings.kafka.topic))
    if others:
        seen = f"they also contain the events of {others}: the same event_id in two topics is one event"
        yield Finding("tables", "fail", seen, SEPARATE_TOPICS, topic)
    yield from (Finding("table", *found, topic) for found in table_findings(connection, settings.table))


def _migrations(connection: psycopg.Connection[tuple[object, ...]]) -> tuple[str, str, str]:
    """Return state, observation and fix."""
    from keepstream.sinks.postgres.migrate import MigrationError, pending

    try:
        missing = pending(connection)
    except MigrationError as error:
        return "fail", str(error), "run the version of keepstream that made these tables"
    if missing:
        return "fail", f"{len(missing)} migrations are pending", "run `keepstream db migrate`"
    return "ok", "up to date", ""


def _version(number: int, *, is_pooled: bool) -> Finding:
    major = number // 10_000
    if major < 14:  # noqa: PLR2004 - the oldest version that `make test-postgres` runs on
        return Finding("postgres", "fail", f"version {major}", "use PostgreSQL 14 or newer")
    return Finding("postgres", "ok", f"version {major}" + (", through a pooler" if is_pooled else ""))
