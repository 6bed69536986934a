"""Migrations only add: workers of the version before run beside the new schema."""

from __future__ import annotations

import re

import pytest

from keepstream.sinks.postgres.migrate import Migration, migrations

TAKES_AWAY = re.compile(
    r"\bDROP\s+(TABLE|COLUMN|VIEW|CONSTRAINT|INDEX)|\bRENAME\b|\bALTER\s+(COLUMN\s+)?\w+\s+(SET\s+DATA\s+)?TYPE\b"
    r"|\bTRUNCATE\b|\bDELETE\s+FROM\b",
    re.IGNORECASE,
)
ADDS_WHAT_OLD_INSERTS_LACK = re.compile(
    r"\bADD\s+COLUMN\s+(?:(?!DEFAULT)[^,;])*\bNOT\s+NULL\b(?![^,;]*DEFAULT)", re.IGNORECASE
)


@pytest.mark.parametrize("migration", migrations(), ids=lambda migration: migration.name)
def test_nothing_that_an_older_worker_uses_is_taken_away(migration: Migration) -> None:
    text = re.sub(r"--[^\n]*|'(?:[^']|'')*'", "", migration.text)
    assert not TAKES_AWAY.search(text)
    assert not ADDS_WHAT_OLD_INSERTS_LACK.search(text)


@pytest.mark.parametrize(
    "text", ["ALTER TABLE a DROP COLUMN b", "ALTER TABLE a RENAME TO b", "ALTER TABLE a ALTER b TYPE int"]
)
def test_what_takes_away_is_noticed(text: str) -> None:
    assert TAKES_AWAY.search(text)


def test_a_column_that_old_inserts_lack_is_noticed() -> None:
    assert ADDS_WHAT_OLD_INSERTS_LACK.search("ALTER TABLE a ADD COLUMN b int NOT NULL;")
    assert not ADDS_WHAT_OLD_INSERTS_LACK.search("ALTER TABLE a ADD COLUMN b int NOT NULL DEFAULT 0, ADD COLUMN c int;")
