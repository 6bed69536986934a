"""A command that may not write to PostgreSQL leaves the dead letter topic as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keepstream.app.errors import FAILED, UNREACHABLE
from tests.acceptance.dead_letters import SeededTopic, without_postgres

pytestmark = pytest.mark.real


CHANGES = (["import", "dead.jsonl"], ["purge", "--to-offset", "1", "--yes", "--export", "again.jsonl"])


@pytest.fixture
def exported(dlq: SeededTopic) -> Iterator[SeededTopic]:
    """A topic with one dead letter, and its export; it is left as it was."""
    dlq.add(1)
    assert dlq.run("dlq", "export", "--output", "dead.jsonl").exit_code == 0
    yield dlq
    assert [record.offset for record in dlq.kafka.read(dlq.topic)] == [0]
    assert not (dlq.folder / "again.jsonl").exists()


def test_rights_are_checked_before_the_topic_is_changed(exported: SeededTopic) -> None:
    url = exported.database.url
    read_only = f"{url}{'&' if '?' in url else '?'}options=-c%20default_transaction_read_only%3Don"
    for command in (*CHANGES, ["replay", "--yes", "--to-topic", f"{exported.topic}-x"]):
        answer = exported.run("dlq", *command, KEEPSTREAM_POSTGRES__URL=read_only)
        assert answer.exit_code == FAILED, command
        assert "read_only_sql_transaction" in answer.errors
        assert "docs/security.md" in answer.errors
    assert exported.state(1) == "open"


def test_without_postgres_the_topic_is_not_changed(exported: SeededTopic) -> None:
    """The tables would list for ever what a purge deleted, and not find what an import added."""
    for command in CHANGES:
        answer = exported.run("dlq", *command, **without_postgres())
        assert answer.exit_code == UNREACHABLE, command
        assert answer.errors.startswith("Error: PostgreSQL cannot be reached")
