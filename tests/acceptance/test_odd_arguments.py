"""On real servers, too, no command line ends with a traceback or a signal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from tests.acceptance.dead_letters import SeededTopic
from tests.odd_arguments import QUICK, commands

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.real


@pytest.mark.parametrize("examples", [QUICK, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_odd_values_on_real_servers_end_with_a_known_exit_code(dlq: SeededTopic, examples: int) -> None:
    dlq.environment = {"KEEPSTREAM_KAFKA__TOPIC": dlq.kafka.new_topic(1)}
    dlq.kafka.create_topic(f"{dlq.topic}-parked", 1, DEAD_LETTER_TOPIC_CONFIG)  # or odd options would create it
    for number in range(3):
        dlq.add(number, value=b"\xff\0" if number else b'{"event_id":"e-0","payload":{"a":1e400}}')
    log = dlq.folder / "command-lines.log"
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "tests.odd_arguments", str(examples)], cwd=dlq.folder, check=False,
            env={**os.environ, **dlq.settings(), "EDITOR": "true", "PYTHONPATH": str(ROOT)},
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    said = log.read_text(errors="replace")
    assert done.returncode == 0, f"ended with {done.returncode}\n{said[-4000:]}"
    assert said.count("  ended with") >= len([*commands()])
