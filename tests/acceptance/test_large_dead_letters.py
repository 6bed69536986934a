"""Dead letters that their topic is too small for, from the record to the replay."""

from __future__ import annotations

import json
import random

import pytest

from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.real import eventually

pytestmark = pytest.mark.real

NOISE = random.Random(0).randbytes(200_000)
"""Dead letters are compressed, and this cannot be."""
HEADERS = [("trace", b"1"), ("noise", random.Random(1).randbytes(1000)), ("trace", b"2")]


@pytest.fixture
def narrow(system: System) -> System:
    """A system whose dead letter topic takes 20 kB."""
    config = DEAD_LETTER_TOPIC_CONFIG | {"max.message.bytes": "20000"}
    system.dlq_topic = system.kafka.new_topic(name="event-dlq", config=config)
    return system


def test_it_neither_pauses_its_partition_nor_is_lost(narrow: System) -> None:
    system = narrow
    worker = system.start_worker()
    system.produce([make_value(), b"small"])
    system.produce([NOISE], key=b"k", headers=HEADERS)
    system.produce([make_value()])
    system.settled(4)
    system.assert_consistent()
    assert worker.get("/readyz")[0] == 200
    large = f"{system.topic}-0-2"
    assert system.dead()[large].value == b""
    assert system.cli("dlq", "show", f"{system.topic}-0-1", "--raw").stdout == "small"
    assert raw(system, large) == NOISE
    shown = json.loads(system.cli("dlq", "show", large, "--json").stdout)
    assert shown["reason"] == "invalid_utf8"
    assert [(h["name"], h["value"]) for h in shown["headers"] if h["name"] == "trace"] == [
        ("trace", "1"),
        ("trace", "2"),
    ]


def test_it_is_exported_and_replayed_with_its_own_bytes(narrow: System) -> None:
    system = narrow
    system.database.execute("ALTER TABLE events ADD CONSTRAINT affordable CHECK ((payload ->> 'amount')::int < 100)")
    value = make_value(event_id="large", payload={"amount": 1000, "noise": NOISE.hex()[:100_000]})
    system.produce([value], key=b"k", headers=HEADERS)
    system.start_worker()
    system.settled(1)
    exported = system.folder / "dead.jsonl"
    system.cli("dlq", "export", "--output", str(exported))
    line = json.loads(exported.read_text())
    assert len(line["value"]) > 100_000
    found = system.cli("dlq", "list", "--json", "--where", "payload.amount=1000").stdout.splitlines()
    assert [json.loads(row)["id"] for row in found] == [f"{system.topic}-0-0"]
    system.database.execute("ALTER TABLE events DROP CONSTRAINT affordable")
    system.cli("dlq", "replay", f"{system.topic}-0-0", "--yes", "--wait")
    system.settled(2)
    assert system.database.value("SELECT payload ->> 'noise' FROM events") == NOISE.hex()[:100_000]
    replayed = system.kafka.read(system.topic)[1]
    assert (replayed.key, replayed.value) == (b"k", value)
    assert [header for header in replayed.headers if header[0] in ("trace", "noise")] == HEADERS


def test_an_original_that_is_gone_is_reported_and_nothing_hollow_is_exported_or_replayed(narrow: System) -> None:
    system = narrow
    system.produce([NOISE])
    system.start_worker()
    system.settled(1)
    system.database.execute("DELETE FROM dead_letter_originals")
    large = f"{system.topic}-0-0"
    assert "PostgreSQL does not hold it" in system.cli("dlq", "show", large, "--raw", exit_code=1).stderr
    assert large in system.cli("dlq", "show", large).stdout
    system.cli("dlq", "export", "--output", str(system.folder / "dead.jsonl"), exit_code=1)
    assert not (system.folder / "dead.jsonl").exists()
    system.cli("dlq", "replay", large, "--yes", exit_code=1)
    assert len(system.kafka.read(system.topic)) == 1


def test_without_its_table_the_partition_waits_and_resumes(narrow: System) -> None:
    system = narrow
    system.database.execute("ALTER TABLE dead_letter_originals RENAME TO later")
    worker = system.start_worker()
    system.produce([NOISE, make_value()])
    eventually(lambda: "too large" in worker.get("/readyz")[1], 30, "the partition is held")
    assert system.database.value("SELECT count(*) FROM dead_letter_outbox") == 1
    system.database.execute("ALTER TABLE later RENAME TO dead_letter_originals")
    system.settled(2)
    system.assert_consistent()
    assert raw(system, f"{system.topic}-0-0") == NOISE


def raw(system: System, name: str) -> bytes:
    path = system.folder / "raw"
    import os
    import subprocess

    with path.open("wb") as file:
        subprocess.run(system.cli_argv("dlq", "show", name, "--raw"), env={**os.environ, **system.settings()},
                       stdout=file, check=True, timeout=60)  # fmt: skip
    return path.read_bytes()
