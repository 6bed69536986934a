"""The suites on containers: the short form of ``KEEPSTREAM_TEST_SERVERS=docker make test``."""

from __future__ import annotations

import sys

import pytest

from tests.container.engine import Engine
from tests.container.images import CHECKOUT

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(600)]
SUITES = ("tests/contract/test_migrate.py", "tests/acceptance/test_worker.py")


def test_the_suites_run_on_containers(engine: Engine, stand_ins: None) -> None:
    # Ryuk, the image that removes what a killed test run leaves, is in no package; the engine goes with this run.
    given = {"KEEPSTREAM_TEST_SERVERS": "docker", "TESTCONTAINERS_RYUK_DISABLED": "true", "CI": "true"}
    settings = [f"{name}={value}" for name, value in given.items()]
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITES]
    report = engine.run("env", *settings, *argv, cwd=CHECKOUT, timeout_s=500)
    assert " passed" in report
    assert "failed" not in report
