"""The schema: numbered SQL files, applied once each, in order, under an advisory lock."""

from __future__ import annotations

import hashlib
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
    """The schema of the database does not fit this version; the message says what to do."""


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
    """Return all migrations of this version in order."""
    paths = (files("keepstream.sinks.postgres") / "migrations").iterdir()
    names = sorted(file.name for file in paths if file.name.endswith(".sql"))
    return [_read(name) for name in names]


def pending(connection: psycopg.Connection[tuple[object, ...]]) -> list[Migration]:
    """Return the pending migrations. Raises MigrationError when an applied one had another text."""
    known = {migration.version: migration for migration in migrations()}
    applied = _applied(connection)
    for version, checksum in applied.items():
        if version in known and known[version].checksum != checksum:
            raise MigrationError(
                f"migration {version} was applied with another text; restore it, add a new one instead"
            )
    return [migration for version, migration in sorted(known.items()) if version not in applied]


def migrate(connection: psycopg.Connection[tuple[object, ...]], schema: str | None = None) -> list[Migration]:
    """Apply the pending migrations in one transaction and return them. Concurrent calls wait for each other."""
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


def _read(file_name: str) -> Migration:
    version, _, name = file_name.removesuffix(".sql").partition("_")
    text = (files("keepstream.sinks.postgres") / "migrations" / file_name).read_text(encoding="utf-8")
    return Migration(int(version), name, text)
