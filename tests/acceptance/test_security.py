"""The whole system on a broker with TLS, logins and ACLs and a PostgreSQL with TLS and least-privilege roles."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType

from tests.acceptance.conftest import System
from tests.acceptance.secure import DEPLOY, ROLES, SCHEMA, Secure, allow, start_secure
from tests.builders import make_value
from tests.certificates import Authority, unsigned_jwt
from tests.conftest import DEBIAN_BINARIES
from tests.real import Database, Kafka, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import Identity

pytestmark = pytest.mark.real

CANARY = "c4nary"
OPEN = pytest.mark.xfail(reason="open: fails on the real servers, cause not looked at yet", strict=False)
DENIED = {"42501", "25006"}
"""Insufficient privilege; read-only transaction."""
OWNERS_ONLY = (
    "DROP TABLE events", "ALTER TABLE events ADD COLUMN x int", "TRUNCATE events", "DELETE FROM events",
    f"CREATE TABLE {SCHEMA}.mine (x int)", "CREATE SCHEMA mine", f"DROP SCHEMA {SCHEMA} CASCADE",
    "DELETE FROM dead_letters", "UPDATE schema_migrations SET checksum = ''", "CREATE ROLE mine",
)  # fmt: skip
TOPIC, GROUP = ResourceType.TOPIC, ResourceType.GROUP
READ, WRITE, DESCRIBE = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE
DELETE = AclOperation.DELETE


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    from app.embedded.errors import EmbeddedUnavailableError

    if not DEBIAN_BINARIES:
        pytest.skip("the embedded PostgreSQL is built without TLS, and /usr/lib/postgresql holds none")
    try:
        with start_secure(tmp_path_factory.mktemp("secure")) as started:
            yield started
    except EmbeddedUnavailableError as missing:
        pytest.skip(str(missing))


def acls(system: System) -> dict[str, list[tuple[ResourceType, str, AclOperation]]]:
    """The list of docs/security.md. Nobody may CREATE, nobody has a right on the cluster."""
    parking = f"{system.dlq_topic}-parked"
    return {
        "worker": [(TOPIC, system.topic, READ), (GROUP, system.group_id, READ), (TOPIC, system.dlq_topic, WRITE)],
        "operator": [
            (TOPIC, system.topic, READ), (TOPIC, system.topic, WRITE), (GROUP, system.group_id, DESCRIBE),
            (TOPIC, system.dlq_topic, READ), (TOPIC, system.dlq_topic, WRITE), (TOPIC, system.dlq_topic, DELETE),
            (TOPIC, parking, WRITE),
        ],
        "reader": [(TOPIC, system.topic, READ), (TOPIC, system.dlq_topic, READ), (GROUP, system.group_id, DESCRIBE)],
    }  # fmt: skip


@pytest.fixture(scope="module")
def tables_made(secure: Secure, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tables that the owner made, and rights on them, as the documentation says."""
    maker = System(Kafka(secure.kafka.bootstrap_servers), Database(secure.postgres.url, SCHEMA),
                   tmp_path_factory.mktemp("maker"))  # fmt: skip
    maker.cli("db", "migrate", **secure.postgres_as("owner"))
    with secure.connect("owner") as owner:
        owner.execute((DEPLOY / "grants.sql").read_bytes())


@pytest.fixture
def system(secure: Secure, tables_made: None, tmp_path: Path) -> Iterator[System]:
    """Topics with their rights, and empty tables."""
    made = System(Kafka(secure.kafka.bootstrap_servers), Database(secure.postgres.url, SCHEMA), tmp_path)
    made.kafka.create_topic(f"{made.dlq_topic}-parked")
    for role, rights in acls(made).items():
        allow(secure.kafka, role, rights)
    yield made
    made.stop()
    with secure.connect("owner") as owner:
        owner.execute(f"TRUNCATE {', '.join(name for name in table_names(made) if name != 'schema_migrations')}")


@OPEN
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

    running = system.start_worker(KEEPSTREAM_LOG__LEVEL="debug", **worker)
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


def table_names(system: System) -> list[str]:
    found = system.database.rows("SELECT tablename FROM pg_tables WHERE schemaname = %s", SCHEMA)
    return [str(name) for (name,) in found]


def test_the_searched_places_would_show_a_secret(secure: Secure) -> None:
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
                     "UPDATE stream_offsets SET next_offset = 0", "UPDATE dead_letters SET reason = ''"],
        "reader": ["UPDATE events SET status = 'failed'"],
    }  # fmt: skip
    for role, statements in refused.items():
        for statement in statements:
            with secure.connect(role) as connection, pytest.raises(psycopg.Error) as caught:
                connection.execute(statement)
            assert caught.value.sqlstate in DENIED, statement


@OPEN
def test_the_reader_sees_events_and_dead_letters(secure: Secure, system: System) -> None:
    worker = system.start_worker(**secure.settings_of("worker"))
    system.produce([make_value(), b"broken"])
    system.settled(2)
    reader = secure.settings_of("reader")
    assert len(system.cli("events", "list", "--json", **reader).stdout.splitlines()) == 1
    assert len(system.cli("dlq", "list", "--json", **reader).stdout.splitlines()) == 1
    assert system.cli("lag", "--json", **reader).stdout
    assert worker.process.stop() == 0


@pytest.mark.parametrize("role", ["worker", "operator", "reader"])
def test_nobody_creates_topics(secure: Secure, system: System, role: str) -> None:
    mine = {"KEEPSTREAM_KAFKA__TOPIC": f"{system.topic}-new"}
    done = system.cli("topics", "ensure", exit_code=1, **secure.settings_of(role), **mine)
    assert "Traceback" not in done.stderr
    assert "authoriz" in done.stderr.lower() or "may not" in done.stderr


# What is wrong -> what doctor says.
WRONG_KAFKA = {
    "authority": "the server's certificate is refused: unable to get local issuer certificate",
    "password": "the brokers refuse the login (SCRAM-SHA-512)",
    "user": "the brokers refuse the login (SCRAM-SHA-512)",
    "no TLS": "does not speak",
    "no certificate": "wants our certificate",
}


@pytest.mark.parametrize("wrong", [pytest.param(w, marks=OPEN) if w.startswith("no ") else w for w in WRONG_KAFKA])
def test_doctor_names_what_is_wrong_with_kafka(secure: Secure, system: System, tmp_path: Path, wrong: str) -> None:
    kafka = secure.kafka_as("worker")
    prefix = "KEEPSTREAM_KAFKA__SECURITY__"
    if wrong == "authority":
        kafka[f"{prefix}CA_FILE"] = str(other_authority(tmp_path))
    elif wrong == "password":
        kafka[f"{prefix}PASSWORD"] = f"{CANARY}-wrong"
    elif wrong == "user":
        kafka[f"{prefix}USERNAME"] = "nobody"
    elif wrong == "no TLS":
        kafka = {"KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": secure.tls}
    else:
        kafka = secure.kafka_by_certificate("worker")
        del kafka[f"{prefix}CERTIFICATE_FILE"], kafka[f"{prefix}KEY_FILE"]
    done = system.cli("doctor", "--json", exit_code=1, **secure.postgres_as("worker"), **kafka)
    finding = next(line for line in map(json.loads, done.stdout.splitlines()) if line["check"] == "kafka")
    assert finding["state"] == "fail"
    assert WRONG_KAFKA[wrong] in finding["seen"]
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({"expired": True}, "certificate has expired"),
        pytest.param({"sans": "DNS:elsewhere.example"}, "IP address mismatch", marks=OPEN),
    ],
)
def test_doctor_names_a_brokers_bad_certificate(
    secure: Secure, system: System, certificate: dict[str, Any], words: str
) -> None:
    own = secure.authority.issue(f"bad-{len(words)}", **certificate)
    with tls_server(own) as port:
        kafka = secure.kafka_as("worker") | {"KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"}
        done = system.cli("doctor", "--json", exit_code=1, **secure.postgres_as("worker"), **kafka)
    assert words in done.stdout


WRONG_POSTGRES = {
    "authority": "certificate is refused: unable to get local issuer certificate",
    "password": "the password was refused",
    "certificate": "certificate",
    "expired": "certificate is refused: certificate has expired",
}


@pytest.mark.parametrize("wrong", [pytest.param(w, marks=OPEN) if w == "authority" else w for w in WRONG_POSTGRES])
def test_doctor_names_what_is_wrong_with_postgres(secure: Secure, system: System, tmp_path: Path, wrong: str) -> None:
    url = secure.url("worker")
    if wrong == "authority":
        url = secure.url("worker", authority=other_authority(tmp_path))
    elif wrong == "password":
        url = secure.url("worker", password=f"{CANARY}-wrong")
    elif wrong == "certificate":
        url = secure.url("operator").partition("&sslcert")[0]
    else:
        secure.present(secure.authority.issue("old", expired=True))
    try:
        done = system.cli("doctor", "--json", exit_code=1, **secure.kafka_as("worker"), KEEPSTREAM_POSTGRES__URL=url)
    finally:
        secure.present(secure.server)
    finding = next(line for line in map(json.loads, done.stdout.splitlines()) if line["check"] == "postgres")
    assert WRONG_POSTGRES[wrong] in finding["seen"]
    assert CANARY not in done.stdout + done.stderr


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


def other_authority(folder: Path) -> Path:
    (folder / "other").mkdir()
    return Authority(folder / "other", "another authority").certificate


@contextmanager
def tls_server(own: Identity) -> Iterator[int]:
    """Shake hands with everybody, and say nothing more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_shake_hands, args=(listener, context), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client, suppress(OSError), context.wrap_socket(client, server_side=True) as spoken:
            spoken.recv(1)
