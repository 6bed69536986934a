"""The wheel works outside the checkout: everything that is read at run time is in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest

from keepstream.app.config.base import VERSION
from tests.builders import make_value

pytestmark = [pytest.mark.real, pytest.mark.timeout(400), pytest.mark.long]

CHECKOUT = Path(__file__).resolve().parents[2]


UV = shutil.which("uv") or shutil.which("uv", path=str(CHECKOUT / ".venv/tools/bin"))


def run(*argv: str | Path, cwd: Path, variables: Mapping[str, str] | None = None) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPSTREAM_", "PYTHON", "UV"))}
    environment = kept | dict(variables or {})
    done = subprocess.run(
        [str(word) for word in argv], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"{argv}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder)]
    run(sys.executable, *build, CHECKOUT, cwd=folder)
    (built,) = folder.glob("keepstream-*.whl")
    return built


def new_environment(folder: Path) -> Path:
    """Make an empty virtual environment; return its folder of programs."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    return folder / "bin"


def check(programs: Path, folder: Path) -> None:
    """Run the command where nothing of the checkout is."""
    folder.mkdir()
    (folder / "events.jsonl").write_bytes(make_value() + b"\n")
    code = "import keepstream.app, keepstream.sinks as sinks; print(keepstream.app.__file__, sinks.__file__)"
    assert str(CHECKOUT) not in run(programs / "python", "-P", "-c", code, cwd=folder).replace(str(programs.parent), "")
    assert run(programs / "keepstream", "--version", cwd=folder).strip().endswith(VERSION)
    run(programs / "keepstream", "events", "validate", "events.jsonl", cwd=folder)


def test_the_wheel_runs_in_an_empty_folder_and_its_demo_proves_itself(wheel: Path, tmp_path: Path) -> None:
    programs = new_environment(tmp_path / "venv")
    run(programs / "python", "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # Our dependencies, without our keepstream: path files of a folder that a path file names are not followed.
    site = Path(run(programs / "python", "-c", "import site; print(site.getsitepackages()[0])", cwd=tmp_path).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    check(programs, tmp_path / "empty")
    assert "OFF" not in run(programs / "keepstream", "demo", "--events", "500", cwd=tmp_path / "empty")


def test_the_wheel_installs_with_the_versions_of_the_lock(wheel: Path, tmp_path: Path) -> None:
    programs = new_environment(tmp_path / "venv")
    lock = (CHECKOUT / "deploy" / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = tmp_path / "constraints.txt"
    pins.write_text("\n".join(line.removesuffix(" \\") for line in lock if "--hash=" not in line))
    run(programs / "python", "-m", "pip", "install", "-q", "--constraint", pins, wheel, cwd=tmp_path)
    run(programs / "python", "-m", "pip", "check", cwd=tmp_path)
    check(programs, tmp_path / "empty")


@pytest.mark.skipif(UV is None, reason="needs uv; `make tools` brings it")
def test_uvx_runs_the_demo_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """In a cache of its own; it adds the extra by itself."""
    assert UV
    clean = {"UV_CACHE_DIR": str(tmp_path / "cache"), "UV_TOOL_DIR": str(tmp_path / "tools")}
    argv = (UV, "tool", "run", "--from", wheel, "keepstream", "demo", "--events", "500")
    proof = run(*argv, cwd=tmp_path, variables=clean).partition("Proof")[2]
    assert "produced = delivered" in proof
    assert "OFF" not in proof
