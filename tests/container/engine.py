"""A Docker engine for one test run: unpacked, not installed, and gone with the run.

Debian's packages are unpacked into a folder. dockerd runs in mount and PID namespaces of its own, so that its mounts
and processes end with it, and it with the test run. It makes no rules for the packet filter: containers reach each
other, the host and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real import eventually

PACKAGES = ("docker.io", "debootstrap", "iptables")
BRIDGE = "docker0"
ADDRESSES = ("--bip", "198.51.100.1/27", "--default-address-pool", "base=198.51.100.0/24,size=27")
"""TEST-NET-2 of RFC 5737, which no network that the machine is in uses."""
NO_RULES = ("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")
START_TIMEOUT_S = 30.0


class EngineUnavailableError(Exception):
    """There can be no engine here; the message says why."""


@dataclass(frozen=True)
class Engine:
    """A running engine: ``environment`` leads programs to it, ``folder`` is the tests' own."""

    folder: Path
    environment: dict[str, str]

    def run(self, *argv: str | Path, timeout_s: float = 120, check: bool = True, cwd: Path | None = None) -> str:
        """Run a program and return stdout and stderr. Raises AssertionError with both when it fails."""
        done = self.attempt(*argv, timeout_s=timeout_s, cwd=cwd)
        assert not check or done.returncode == 0, f"{' '.join(map(str, argv))}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def attempt(
        self, *argv: str | Path, timeout_s: float = 120, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program that may fail; stdout holds stderr too."""
        return subprocess.run(
            [str(word) for word in argv], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, text=True, timeout=timeout_s, check=False, cwd=cwd,
        )  # fmt: skip

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what the engine knows of a container or an image."""
        found: dict[str, Any] = json.loads(self.run("docker", "inspect", name))[0]
        return found

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.inspect(name)["State"]
        return found

    @contextmanager
    def container(self, *options: str) -> Iterator[str]:
        """``docker run`` in the background; yields the id, and removes the container."""
        identity = self.run("docker", "run", "--detach", *options).strip().splitlines()[-1]
        try:
            yield identity
        finally:
            self.run("docker", "rm", "--force", "--volumes", identity)


def why_not() -> str | None:
    """Return why no engine can be started here, or None."""
    if os.geteuid() != 0:
        return "it needs root: dockerd makes mounts and networks"
    if not Path("/etc/debian_version").is_file() or not shutil.which("apt-get"):
        return "it needs Debian: the engine and the base image come from its packages"
    if missing := [name for name in ("unshare", "setpriv", "ip", "dpkg") if not shutil.which(name)]:
        return f"it needs {', '.join(missing)}"
    if Path("/sys/class/net", BRIDGE).exists():
        return f"another Docker engine runs here: there is a network {BRIDGE}"
    return None


def unpack(packages: Sequence[str], folder: Path) -> Path:
    """Download Debian packages, with what is not installed of their dependencies, and unpack them into the folder."""
    downloads = folder / "downloads"
    (downloads / "partial").mkdir(parents=True, exist_ok=True)
    options = ["-qq", "-y", "-o", f"Dir::Cache::archives={downloads}", "-o", "APT::Sandbox::User=root"]
    get = ["apt-get", *options, "--download-only", "--no-install-recommends", "install", *packages]
    for argv in (["apt-get", "-qq", "update"], get):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise EngineUnavailableError(f"{' '.join(argv)}: {done.stderr}")
    for package in downloads.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder], check=True, timeout=120)
    return folder


_DATA = {"XTABLES_LIBDIR": "usr/lib/*-linux-gnu/xtables", "DEBOOTSTRAP_DIR": "usr/share/debootstrap"}
"""Where unpacked programs find their data. One that is installed is not unpacked, and finds its own."""


@contextmanager
def running_engine(folder: Path) -> Iterator[Engine]:
    """Start an engine below the folder; afterwards no process, mount, network or cgroup of it is left."""
    system = unpack(PACKAGES, folder / "system")
    engine = Engine(folder, _environment(folder, system))
    daemon = _start(engine)
    try:
        eventually(lambda: _answers(engine, daemon), START_TIMEOUT_S, "dockerd answers")
        yield engine
    finally:
        _stop(engine, daemon)


def _environment(folder: Path, system: Path) -> dict[str, str]:
    programs = [system / "usr/sbin", system / "usr/bin"]
    # The names that an installation would link. The engine needs them in a container's network, for its own DNS.
    for program in programs[0].glob("ip*tables-nft*"):
        link = program.with_name(program.name.replace("-nft", ""))
        if not link.exists():
            link.symlink_to(program.name)
    libraries = ":".join(map(str, system.glob("usr/lib/*-linux-gnu")))
    path = ":".join([*map(str, programs), os.environ["PATH"]])
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "COMPOSE_", "KEEPSTREAM_"))
    } | {
        "PATH": path,
        "LD_LIBRARY_PATH": libraries,
        **{name: str(found) for name, pattern in _DATA.items() for found in system.glob(pattern)},
        "DOCKER_HOST": f"unix://{folder}/docker.sock",
        "DOCKER_CONFIG": str(folder / "client"),
        "DOCKER_BUILDKIT": "0",
    }  # fmt: skip


def _start(engine: Engine) -> subprocess.Popen[bytes]:
    places = [part for name in ("data-root", "exec-root") for part in (f"--{name}", str(engine.folder / name))]
    argv = [
        "setpriv", "--pdeathsig", "KILL",
        "unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL", "dockerd",
        "--host", engine.environment["DOCKER_HOST"], "--pidfile", str(engine.folder / "dockerd.pid"),
        "--storage-driver", "overlay2", *places, *NO_RULES, *ADDRESSES,
    ]  # fmt: skip
    with (engine.folder / "dockerd.log").open("wb") as log:
        return subprocess.Popen(argv, env=engine.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _answers(engine: Engine, daemon: subprocess.Popen[bytes]) -> bool:
    if daemon.poll() is not None:
        log = (engine.folder / "dockerd.log").read_text(errors="replace")
        raise EngineUnavailableError(f"dockerd ended with {daemon.returncode}:\n{log[-2000:]}")
    return engine.attempt("docker", "info").returncode == 0


def _stop(engine: Engine, daemon: subprocess.Popen[bytes]) -> None:
    if containers := engine.attempt("docker", "ps", "--all", "--quiet").stdout.split():
        engine.attempt("docker", "rm", "--force", "--volumes", *containers)
    engine.attempt("docker", "network", "prune", "--force")
    daemon.kill()
    daemon.wait()
    subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)
    for folder in sorted(Path("/sys/fs/cgroup").glob("**/docker"), reverse=True):
        _until(lambda folder=folder: _remove_cgroup(folder))  # type: ignore[misc]


def _remove_cgroup(folder: Path) -> bool:
    """Remove a cgroup and those below it; False while a process of them is still ending."""
    try:
        for below, _, _ in os.walk(folder, topdown=False):
            Path(below).rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not done() and time.monotonic() < deadline:
        time.sleep(0.1)


def leftovers(folder: Path) -> list[str]:
    """Return what of an engine is still there: mounts, networks, processes."""
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]
    networks = [path.name for path in Path("/sys/class/net").iterdir() if re.match(r"docker0|br-|veth", path.name)]
    processes = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            processes.append(words)
    return mounts + networks + processes
