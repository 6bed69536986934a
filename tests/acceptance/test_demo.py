"""The demo, as a stranger runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.real import Servers

pytestmark = pytest.mark.real


def run_demo(servers: Servers, folder: Path, *options: str, **variables: str) -> dict[str, Any]:
    """Run ``keepstream demo`` on the session's servers; return its proof."""
    environment = {
        **os.environ,
        "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "KEEPSTREAM_POSTGRES__URL": servers.postgres_url,
        **variables,
    }
    argv = [sys.executable, "-P", "-m", "keepstream.app", "demo", "--json", *options]
    done = subprocess.run(argv, env=environment, cwd=folder, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    proof: dict[str, Any] = json.loads(done.stdout)
    return proof


def test_the_demo_proves_that_nothing_was_lost_while_its_worker_was_killed(servers: Servers, tmp_path: Path) -> None:
    proof = run_demo(servers, tmp_path, "--events", "3000", "--kills", "2")
    assert proof["holds"]
    assert all(check["left"] == check["right"] for check in proof["checks"])
    assert sum(dead["count"] for dead in proof["dead_letters"]) > 20


def test_topics_and_mappings_of_the_settings_do_not_confuse_the_demo(servers: Servers, tmp_path: Path) -> None:
    (tmp_path / "keepstream.toml").write_text('[keepstream.topics.orders.mapping]\nid = "/order/no"\n')
    variables = {"KEEPSTREAM_CONFIG": "keepstream.toml", "KEEPSTREAM_TOPICS__PAYMENTS": "{}"}
    assert run_demo(servers, tmp_path, "--events", "500", **variables)["holds"]
