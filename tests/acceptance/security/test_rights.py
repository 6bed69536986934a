"""What each role may, on a secured broker and database, and that no secret shows anywhere."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.acceptance.conftest import System
from tests.acceptance.secure import CANARY, ROLES, SCHEMA, Secure, table_names
from tests.builders import make_value
from tests.certificates import unsigned_jwt
from tests.real import eventually

pytestmark = [pytest.mark.real, pytest.mark.long]

DENIED = {"42501", "25006"}
"""Insufficient privilege; read-only transaction."""
OWNERS_ONLY = (
    "DROP TABLE events", "ALTER TABLE events ADD COLUMN x int", "TRUNCATE events", "DELETE FROM events",
    f"CREATE TABLE {SCHEMA}.mine (x int)", "CREATE SCHEMA mine", f"DROP SCHEMA {SCHEMA} CASCADE",
    "DELETE FROM dead_letters", "UPDATE schema_migrations SET checksum = ''", "CREATE ROLE mine",
)  # fmt: skip


def test_worker_command_line_and_replay_need_no_more_than_their_rights_and_show_no_secret(
    secure: Secure, system: System
) -> None:
    """Every secret is a canary. Everything that a run writes anywhere is searched for them."""
    worker, operator = secure.settings_of("worker"), secure.settings_of("operator")
    seen: list[str] = []

    def cli(*arguments: str, exit_code: int = 0, **environment: str) -> str:
        done = system.cli(*arguments, exit_code=exit_code, **(operator | environment))
        seen.extend((done.stdout, done.stderr))
        return done.stdout

    running = system.start_worker("-P", "-m", "keepstream.app", "worker", KEEPSTREAM_LOG__LEVEL="debug", **worker)
    system.database.execute("ALTER TABLE events ADD CONSTRAINT small CHECK (length(payload ->> 'text') < 30)")
    system.produce([make_value(), b"broken", make_value(payload={"text": "x" * 40})])
    system.settled(3)
    argv = Path(f"/proc/{running.process.pid}/cmdline").read_text()
    system.database.execute("ALTER TABLE events DROP CONSTRAINT small")
    cli("doctor", KEEPSTREAM_HTTP__PORT="0")
    cli("dlq", "list", "--json")
    cli("dlq", "stats", "--json")
    cli("lag", "--json")
    assert "replayed 1" in "".join([cli("dlq", "replay", "--reason", "check_violation", "--yes", "--wait"), seen[-1]])
    system.settled(4)
    cli("audit", "--deep", "--json")
    cli("config", "show", "--json")
    cli("config", "show", "--explain")
    cli("events", "list", "--json")
    refused = cli("dlq", "list", exit_code=4, **secure.kafka_as("operator", password=f"{CANARY}-wrong"))
    assert not refused
    assert "the brokers refuse the login" in seen[-1]
    seen += [argv, *(running.get(path)[1] for path in ("/metrics", "/readyz", "/livez"))]
    assert running.process.stop() == 0
    log = running.process.log_path.read_text()
    assert len(log.splitlines()) > 10
    seen += [log, str(list(system.dead().values())), *tables(system)]
    system.assert_consistent()
    assert system.committed_lag() == 0
    assert [text[max(0, text.index(CANARY) - 80) :][:120] for text in seen if CANARY in text] == []


def tables(system: System) -> list[str]:
    return [str(system.database.rows(f"SELECT * FROM {name}")) for name in table_names(system)]


def test_the_searched_files_would_show_a_secret(secure: Secure) -> None:
    """The search above can fail: what it looks for is in every secret that was given."""
    given = [*secure.passwords.values(), *secure.settings_of("worker").values()]
    assert sum(CANARY in value for value in given) == len(ROLES) + 2


@pytest.mark.parametrize("way", ["certificate", "PLAIN", "SCRAM-SHA-256", "token"])
def test_a_worker_comes_in_each_way(secure: Secure, system: System, tmp_path: Path, way: str) -> None:
    if way == "token":
        (tmp_path / "token").write_text(unsigned_jwt("worker", 3600))
        kafka = secure.kafka_as("worker", "OAUTHBEARER", oauth_token_file=str(tmp_path / "token"))
        kafka = {name: value for name, value in kafka.items() if not name.endswith(("__USERNAME", "__PASSWORD"))}
    elif way == "certificate":
        kafka = secure.kafka_by_certificate("worker")
    else:
        kafka = secure.kafka_as("worker", way)
    worker = system.start_worker(**secure.postgres_as("worker"), **kafka)
    system.produce([make_value(), b"broken"])
    system.settled(2)
    assert len(system.dead()) == 1
    assert worker.process.stop() == 0


@pytest.mark.parametrize("role", ["worker", "operator", "reader"])
def test_only_the_owner_changes_tables(secure: Secure, system: System, role: str) -> None:
    with secure.connect(role) as connection:
        for statement in OWNERS_ONLY:
            with pytest.raises(psycopg.Error) as refused:
                connection.execute(statement)
            assert refused.value.sqlstate in DENIED, statement


def test_the_worker_touches_no_replay_and_the_operator_no_event(secure: Secure, system: System) -> None:
    refused = {
        "worker": ["INSERT INTO replays (dlq_topic, selection, started_by) VALUES ('d', '{}', 'me')"],
        "operator": ["UPDATE events SET status = 'failed'", "UPDATE event_counters SET total = 0",
                     "UPDATE stream_offsets SET next_offset = 0", "UPDATE dead_letters SET reason = ''",
                     "DELETE FROM dead_letter_outbox"],
        "reader": ["UPDATE events SET status = 'failed'"],
    }  # fmt: skip
    for role, statements in refused.items():
        for statement in statements:
            with secure.connect(role) as connection, pytest.raises(psycopg.Error) as caught:
                connection.execute(statement)
            assert caught.value.sqlstate in DENIED, statement


def test_the_reader_sees_events_and_dead_letters(secure: Secure, system: System) -> None:
    worker = system.start_worker(**secure.settings_of("worker"))
    system.produce([make_value(), b"broken"])
    system.settled(2)
    reader = secure.settings_of("reader")
    assert len(system.cli("events", "list", "--json", **reader).stdout.splitlines()) == 1
    assert len(system.cli("dlq", "list", "--json", **reader).stdout.splitlines()) == 1
    assert system.cli("lag", "--json", **reader).stdout
    assert worker.process.stop() == 0


def test_the_operator_imports_and_purges_and_the_reader_changes_no_topic(
    secure: Secure, system: System, tmp_path: Path
) -> None:
    worker = system.start_worker(**secure.settings_of("worker"))
    system.produce([b"broken"])
    system.settled(1)
    file, operator = tmp_path / "dead.jsonl", secure.settings_of("operator")
    system.cli("dlq", "export", "--output", str(file), **operator)
    before = len(system.kafka.read(system.dlq_topic))
    reader = operator | secure.postgres_as("reader")
    system.cli("dlq", "import", str(file), exit_code=1, **reader)
    system.cli("dlq", "purge", "--until", "0s", "--yes", "--export", str(tmp_path / "x"), exit_code=1, **reader)
    assert len(system.kafka.read(system.dlq_topic)) == before
    system.cli("dlq", "import", str(file), **operator)
    assert len(system.kafka.read(system.dlq_topic)) == before + 1
    assert worker.process.stop() == 0


@pytest.mark.parametrize("role", ["worker", "operator", "reader"])
def test_nobody_creates_topics(secure: Secure, system: System, role: str) -> None:
    mine = {"KEEPSTREAM_KAFKA__TOPIC": f"{system.topic}-new"}
    done = system.cli("topics", "ensure", exit_code=1, **secure.settings_of(role), **mine)
    assert "Traceback" not in done.stderr
    assert "authoriz" in done.stderr.lower() or "may not" in done.stderr


def test_a_worker_that_is_refused_says_why_and_waits(secure: Secure, system: System) -> None:
    wrong = secure.settings_of("worker") | {"KEEPSTREAM_KAFKA__SECURITY__PASSWORD": f"{CANARY}-wrong"}
    worker = system.start_worker(**wrong)
    eventually(lambda: any("refuse the login" in line["event"] for line in worker.log()), 30)
    assert worker.process.stop() == 0
    assert CANARY not in worker.process.log_path.read_text()


def test_a_rotated_password_needs_no_restart(secure: Secure, system: System, tmp_path: Path) -> None:
    """The role gets a new password, the file as well, and PostgreSQL drops its connections."""
    file = tmp_path / "password"
    file.write_text(secure.passwords["worker"])
    url = secure.url("worker").replace(f":{secure.passwords['worker']}@", "@")
    worker = system.start_worker(**secure.kafka_as("worker"), KEEPSTREAM_POSTGRES__URL=url,
                                 KEEPSTREAM_POSTGRES__PASSWORD_FILE=str(file))  # fmt: skip
    system.produce([make_value()])
    system.settled(1)
    try:
        system.database.execute("ALTER ROLE keepstream_worker PASSWORD 'c4nary-rotated'")
        file.write_text("c4nary-rotated\n")
        system.database.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'keepstream_worker'"
        )
        system.produce([make_value()])
        system.settled(2)
    finally:
        system.database.execute(f"ALTER ROLE keepstream_worker PASSWORD '{secure.passwords['worker']}'")
    assert worker.process.stop() == 0
    assert CANARY not in worker.process.log_path.read_text()
