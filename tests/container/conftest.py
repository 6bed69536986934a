"""One engine and one set of images for all tests of this folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.compose import Compose
from tests.container.engine import Engine, EngineUnavailableError, leftovers, running_engine, why_not
from tests.container.images import PARTS, build, build_stand_in, import_base

IMAGE = "keepstream:local"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker engine with the base image; nothing of it is left afterwards."""
    if reason := why_not():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="keepstream-container-"))
    try:
        with running_engine(folder) as started:
            import_base(started)
            yield started
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    finally:
        shutil.rmtree(folder)
    assert leftovers(folder) == []


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """Keepstream's image, built from the real Dockerfile."""
    build(engine, IMAGE)
    return IMAGE


@pytest.fixture(scope="session")
def stand_ins(engine: Engine) -> None:
    """The images of docker-compose.yml's servers."""
    for service in PARTS:
        build_stand_in(engine, service)


@pytest.fixture(scope="module")
def compose(engine: Engine, image: str, stand_ins: None) -> Iterator[Compose]:
    """docker-compose.yml, up, on free ports and with a password that a URL would not take as it is."""
    project = Compose.on_free_ports(engine)
    project("up", "--detach", "--wait", timeout_s=180)
    try:
        yield project
    finally:
        project("down", "--volumes", "--timeout", "20")
