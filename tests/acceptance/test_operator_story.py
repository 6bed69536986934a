"""An operator's day in a shell, pipes included: dead letters are found, understood, replayed, moved and deleted.

The exit codes are those that docs/reference/exit-codes.md documents.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keepstream.schemas.record import header
from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.real import eventually

pytestmark = pytest.mark.real

CODES_PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/exit-codes.md").read_text(encoding="utf-8")
FORBID = "ALTER TABLE events ADD CONSTRAINT affordable CHECK ((payload ->> 'amount')::numeric < 100)"
ALLOW = "ALTER TABLE events DROP CONSTRAINT affordable"
AMOUNT = 12345678901234567890
DEAD = 60


def documented_codes() -> dict[str, int]:
    """Return the exit codes of docs/reference/exit-codes.md by their names."""
    return {name: int(code) for code, name in re.findall(r"^\| (\d+) \| (.*?) \|$", CODES_PAGE, re.MULTILINE)}


CODES = documented_codes()
FAILED, USAGE, NOT_FOUND, REFUSED, INTERRUPTED = (
    CODES[name] for name in ("failed", "usage", "not found", "refused", "interrupted")
)
UNREACHABLE = CODES["Kafka or PostgreSQL unreachable"]


@dataclass
class Shell:
    """Bash, with the settings of a system and `keepstream` on its PATH."""

    system: System
    shim: Path
    seen: set[int] = field(default_factory=set)

    def start(self, script: str) -> subprocess.Popen[str]:
        environment = {**os.environ, **self.system.settings(), "PATH": f"{self.shim}:{os.environ['PATH']}"}
        return subprocess.Popen(
            ["bash", "-c", f"set -o pipefail; {script}"], env=environment, cwd=self.system.folder, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ends(self, process: subprocess.Popen[str], code: int) -> tuple[str, str]:
        """Return stdout and stderr of a process that ends with this code."""
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, f"{process.args!r}\n{out}\n{err}"
        self.seen.add(code)
        return out, err

    def run(self, script: str, code: int = 0) -> str:
        return self.ends(self.start(script), code)[0]

    def fails(self, script: str, code: int, because: str) -> None:
        """Run it, expect the code, nothing on stdout and the reason on stderr."""
        out, err = self.ends(self.start(script), code)
        assert out == ""
        assert because in err, err


@pytest.fixture
def shell(system: System, shim: Path) -> Shell:
    """A shell on a system whose worker runs, with an event and 60 that a constraint has refused."""
    system.kafka.create_topic(f"{system.dlq_topic}-parked", config=DEAD_LETTER_TOPIC_CONFIG)
    system.database.execute(FORBID)
    system.start_worker(KEEPSTREAM_WORKER__STORE_RETRY__MAX_RETRIES="0")
    system.produce([make_value(event_id="fine", payload={"amount": 1})])
    system.produce(make_value(event_id=f"e-{number}", payload={"amount": AMOUNT + number}) for number in range(DEAD))
    system.settled(DEAD + 1)
    return Shell(system, shim)


def test_a_day(shell: Shell) -> None:
    looks_around(shell)
    makes_mistakes(shell)
    shell.system.database.execute(ALLOW)
    replays(shell)
    is_interrupted_and_killed(shell)
    moves_and_deletes(shell)
    shell.run("keepstream audit | grep -c ' ok '")
    assert shell.seen >= {0, *CODES.values()} - {CODES["fatal error"]}  # which only a worker ends with


def looks_around(shell: Shell) -> None:
    topic = shell.system.topic
    assert shell.run("keepstream config show | grep '^KEEPSTREAM_KAFKA__TOPIC '").split()[1] == topic
    newest = json.loads(shell.run("keepstream dlq list --json | head -1"))
    assert newest["id"] == f"{topic}-0-{DEAD}"
    assert json.loads(shell.run(f"keepstream dlq list --json --where payload.amount={AMOUNT + 7}"))["event_id"] == "e-7"
    assert json.loads(shell.run("keepstream dlq stats --by reason --json"))["letters"] == DEAD
    shell.ends(shell.start("keepstream dlq stats --fail-above 0"), FAILED)
    shown = shell.run(f"keepstream dlq show {newest['id']} | grep -e '^reason ' -e '\"amount\"'")
    assert shown.split() == ["reason", "check_violation", '"amount":', str(AMOUNT + DEAD - 1)]


def makes_mistakes(shell: Shell) -> None:
    """Each ends with its code, and nothing is sent."""
    topic = shell.system.topic
    offset = shell.system.kafka.read(topic)[-1].offset
    mistakes = [
        (f"keepstream dlq replay --yes {topic}-0-1 {topic}-0-999", NOT_FOUND, f"not found: {topic}-0-999\n"),
        ("keepstream dlq list typo", NOT_FOUND, "not found: typo"),
        ("keepstream dlq show typo", NOT_FOUND, "'typo'"),
        ("keepstream dlq replay --yes --reason typo", NOT_FOUND, "no dead letter"),
        ("keepstream dlq replay --resume 99", NOT_FOUND, "no replay 99"),
        ('keepstream dlq replay --yes --since "$UNSET"', USAGE, "--since"),
        ("keepstream dlq replay --resume 1 --dry-run", USAGE, "--dry-run"),
        ("keepstream dlq list --limit 0 --json", USAGE, '{"error": {"code": "bad_usage"'),
        ("keepstream dlq replay", REFUSED, "--yes"),
        ("keepstream dlq purge --until 0s", REFUSED, "--yes"),
        ("KEEPSTREAM_POSTGRES__URL=postgresql://127.0.0.1:1/x keepstream events list", UNREACHABLE, "127.0.0.1:1"),
    ]
    with ThreadPoolExecutor(4) as at_once:
        for _ in at_once.map(lambda mistake: shell.fails(*mistake), mistakes):
            pass
    assert shell.system.kafka.read(topic)[-1].offset == offset


def replays(shell: Shell) -> None:
    would = json.loads(shell.run("keepstream dlq replay --reason check_violation --dry-run --json"))
    assert (would["selected"], would["would_pass"]) == (DEAD, DEAD)
    ids = 'keepstream dlq list --json --limit 2 | grep -o \'"id": "[^"]*\' | cut -d \'"\' -f 4'
    out, _ = shell.ends(shell.start(f"{ids} | xargs keepstream dlq replay --yes --wait"), 0)
    assert out.splitlines() == ["2 delivered, 0 dead again", "selected 2 = replayed 2 + skipped 0 + failed 0"]
    assert json.loads(shell.run(f"keepstream events show e-{DEAD - 1} --json"))["event"]["status"] == "delivered"


def is_interrupted_and_killed(shell: Shell) -> None:
    """Ctrl-C, kill -9, and each is sent once."""
    system = shell.system
    interrupted = shell.start("exec keepstream dlq replay --yes --rate 20/s")
    eventually(sent(system, 2 + 1), 30)
    interrupted.send_signal(signal.SIGINT)
    _, err = shell.ends(interrupted, INTERRUPTED)
    (resume,) = re.findall(r"keepstream dlq replay --resume \d+", err)
    before = system.database.value("SELECT count(*) FROM replay_letters WHERE state <> 'planned'")
    killed = shell.start(f"exec {resume}")
    eventually(sent(system, int(before) + 1), 30)
    killed.kill()
    killed.communicate()
    assert shell.run(f"{resume} --wait | tail -1").endswith("+ failed 0\n")
    replayed = [header(record, "keepstream.dlq.replay-of") for record in system.kafka.read(system.topic)]
    assert len([one for one in replayed if one]) == len({*replayed} - {None}) == DEAD
    assert shell.run("keepstream dlq list --json") == ""


def sent(system: System, least: int) -> Callable[[], bool]:
    query = "SELECT count(*) FROM replay_letters WHERE state <> 'planned'"
    return lambda: int(system.database.value(query)) >= least


def moves_and_deletes(shell: Shell) -> None:
    other = shell.system.kafka.new_topic(1, "event-dlq", DEAD_LETTER_TOPIC_CONFIG)
    moved = shell.run(
        f"keepstream dlq export --output - | KEEPSTREAM_KAFKA__DLQ_TOPIC={other} keepstream dlq import - --json"
    )
    assert json.loads(moved) == {"topic": other, "imported": DEAD}
    shell.run("keepstream dlq export --output dead.jsonl && test $(wc -l < dead.jsonl) = 60")
    shell.fails("keepstream dlq export --output dead.jsonl", REFUSED, "exists")
    deleted = shell.run("keepstream dlq purge --until 0s --yes --export purged.jsonl --json")
    assert json.loads(deleted)["removed"] == DEAD
    assert (shell.system.folder / "purged.jsonl").read_bytes() == (shell.system.folder / "dead.jsonl").read_bytes()
    shell.fails("keepstream dlq list --include-resolved", 0, "")
