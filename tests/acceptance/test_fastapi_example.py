"""docs/examples/fastapi-producer: a service whose package is named `app`, with keepstream beside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstream.app.embedded.service import free_port
from tests.acceptance.shell_session import ShellSession, shell_session
from tests.acceptance.test_documented_commands import STORIES, lines_of, program_of
from tests.real import Servers, eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


@pytest.fixture
def service(servers: Servers, tmp_path: Path, shim: Path) -> Iterator[ShellSession]:
    """The example's folder, with its own requirements installed in a folder of their own."""
    folder, site = tmp_path / "producer", tmp_path / "site"
    shutil.copytree(STORIES["fastapi-producer"].parent, folder)
    install = ("pip", "install", "--quiet", "--require-hashes", "-r", "requirements.txt", "--target", str(site))
    subprocess.run([sys.executable, "-m", *install], cwd=folder, check=True, timeout=300)
    with shell_session(servers, folder, shim) as session:
        session.variables["PYTHONPATH"] = str(site)
        yield session


def test_an_order_that_is_answered_with_202_is_an_event(service: ShellSession) -> None:
    port = free_port()
    (start,) = [line for line in lines_of(STORIES["fastapi-producer"]) if program_of(line) == "uvicorn"]
    argv = start.replace("uvicorn", "-m uvicorn").replace("8000", str(port)).split()
    assert service.run("KEEPSTREAM_KAFKA__TOPIC=orders keepstream topics ensure")[0] == 0
    log = service.folder.parent / "uvicorn.log"
    with log.open("wb") as out:
        running = subprocess.Popen([sys.executable, *argv], cwd=service.folder, env=service.variables, stderr=out)
    try:
        eventually(lambda: "startup complete" in log.read_text(), 60, "the service runs")
        for line in lines_of(STORIES["fastapi-producer"]):
            if program_of(line) in ("curl", "keepstream"):
                code, said = service.run(line.replace("8000", str(port)))
                assert (code, "Error" in said) == (0, False), f"{line}\n{said}\n{log.read_text()}"
    finally:
        running.terminate()
        running.wait(30)
    for line in ("keepstream db migrate", "KEEPSTREAM_KAFKA__TOPIC=orders keepstream events list"):
        assert service.run(line)[0] == 0
    service.variables["KEEPSTREAM_KAFKA__TOPIC"] = "orders"
    service.run("keepstream worker")
    assert service.rows("SELECT event_id, payload ->> 'amount' FROM events") == [("order-4711", "12.5")]
