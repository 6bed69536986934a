"""The schema: numbered SQL files, applied once each, in order, under an advisory lock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import LiteralString, cast

import psycopg
from psycopg import sql

_LOCK_KEY = 0x6B656570  # "keep"
_TABLE: LiteralString = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


class MigrationError(RuntimeError):
    """The schema in the database is not one that this version can work with; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema. ``checksum`` is the SHA-256 of its text."""

    version: int
    name: str
    text: LiteralString

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Return all known migrations in order."""
    return sorted(_read(), key=lambda migration: migration.version)


def pending(connection: psycopg.Connection[tuple[object, ...]]) -> list[Migration]:
    """Return what is not applied yet. Raises MigrationError when an applied one differs from ours."""
    known = {migration.version: migration for migration in migrations()}
    applied = _applied(connection)
    for version, checksum in applied.items():
        if version in known and known[version].checksum != checksum:
            raise MigrationError(
                f"migration {version} was applied with another text; restore it, add a new one instead"
            )
    return [migration for version, migration in sorted(known.items()) if version not in applied]


def migrate(connection: psycopg.Connection[tuple[object, ...]], schema: str | None = None) -> list[Migration]:
    """Apply what is pending and return it. Safe to run from many places at once; all or nothing."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
        if schema:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
            connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))
        connection.execute(_TABLE)
        todo = pending(connection)
        for migration in todo:
            connection.execute(migration.text)
            connection.execute(
                "INSERT INTO schema_migrations (version, name, checksum) VALUES (%s, %s, %s)",
                [migration.version, migration.name, migration.checksum],
            )
    return todo


def _applied(connection: psycopg.Connection[tuple[object, ...]]) -> dict[int, str]:
    found = connection.execute("SELECT to_regclass('schema_migrations')").fetchone()
    if not found or found[0] is None:
        return {}
    rows = connection.execute("SELECT version, checksum FROM schema_migrations").fetchall()
    return {cast("int", version): cast("str", checksum) for version, checksum in rows}


def _read() -> Iterator[Migration]:
    for file in (files("keepstream.sinks.postgres") / "migrations").iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            yield Migration(int(number), name, file.read_text(encoding="utf-8"))
