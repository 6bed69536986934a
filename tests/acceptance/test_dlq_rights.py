"""A command that may not write to PostgreSQL leaves the dead letter topic as it is."""

from __future__ import annotations

import pytest

from keepstream.app.errors import FAILED
from tests.acceptance.dead_letters import SeededTopic

pytestmark = pytest.mark.real


def test_rights_are_checked_before_the_topic_is_changed(dlq: SeededTopic) -> None:
    dlq.add(1)
    assert dlq.run("dlq", "export", "--output", "dead.jsonl").exit_code == 0
    url = dlq.database.url
    read_only = f"{url}{'&' if '?' in url else '?'}options=-c%20default_transaction_read_only%3Don"
    for command in (["import", "dead.jsonl"], ["purge", "--to-offset", "1", "--yes", "--export", "again.jsonl"]):
        answer = dlq.run("dlq", *command, KEEPSTREAM_POSTGRES__URL=read_only)
        assert answer.exit_code == FAILED
        assert "read_only_sql_transaction" in answer.errors
        assert "docs/security.md" in answer.errors
    assert [record.offset for record in dlq.kafka.read(dlq.topic)] == [0]
    assert not (dlq.folder / "again.jsonl").exists()
