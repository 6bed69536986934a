"""``keepstream status``: one screen, from whatever answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import System, Worker
from tests.builders import make_value
from tests.real import Kafka, Postgres, Servers, eventually

pytestmark = pytest.mark.real

NOWHERE = "127.0.0.1:1"
NO_POSTGRES = {"KEEPSTREAM_POSTGRES__URL": f"postgresql://somebody:s3cret@{NOWHERE}/nothing"}
NO_KAFKA = {"KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": NOWHERE}


def urls(*workers: Worker) -> dict[str, str]:
    return {"KEEPSTREAM_WEB__WORKER_URLS": json.dumps([f"http://127.0.0.1:{w._port()}/metrics" for w in workers])}


def status(system: System, environment: dict[str, str] | None = None, *, exit_code: int = 0) -> dict[str, Any]:
    nobody = {"KEEPSTREAM_WEB__WORKER_URLS": json.dumps([f"http://{NOWHERE}/metrics"])}
    done = system.cli("status", "--json", "--interval", "0.3", exit_code=exit_code, **nobody | (environment or {}))
    assert "s3cret" not in done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def missing(report: dict[str, Any]) -> list[str]:
    return [part["part"] for part in report["missing"]]


def test_everything_answers_and_each_figure_is_the_true_one(new_system: Callable[..., System]) -> None:
    system = new_system(partitions=2)
    worker = system.start_worker()
    for partition in (0, 1):
        system.produce([make_value(), make_value(), b"broken"], partition=partition)
    system.settled(6)
    system.cli("dlq", "replay", "--include-resolved", "--yes", "--wait")  # broken they stay, and die again
    eventually(lambda: status(system, urls(worker))["lag"]["total"] == 0, 30)
    report = status(system, urls(worker))
    assert missing(report) == []
    assert report["outcomes"] == {
        "delivered": 4,
        "duplicate": 0,
        "stale": 0,
        "ignored": 0,
        "failed": system.database.totals()["failed"],
    }
    assert [(row["partition"], row["lag"]) for row in report["lag"]["partitions"]] == [(0, 0), (1, 0)]
    assert (report["lag"]["drain_s"], report["oldest_unsettled_at"]) == (0, None)
    assert (report["workers"]["answered"], report["workers"]["held_partitions"]) == (1, 0)
    open_letters = system.database.value("SELECT count(*) FROM dead_letters WHERE state = 'open'")
    assert report["dead_letters"] == {"open": open_letters, "by_reason": {"invalid_json": open_letters}}
    assert {error["reason"] for error in report["last_errors"]} == {"invalid_json"}
    (replay,) = report["last_replays"]
    assert (replay["state"], replay["selected"]) == ("finished", 2)


def test_without_a_worker_lag_and_the_oldest_record_are_known_and_it_stands_still(system: System) -> None:
    system.start_worker()
    system.produce([make_value()])
    system.settled(1)
    system.stop()
    system.produce([make_value() for _ in range(5)])
    oldest_ms = system.kafka.read(system.topic)[1].timestamp
    report = status(system)
    assert missing(report) == ["workers"]
    assert (report["lag"]["total"], report["lag"]["standstill"], report["lag"]["drain_s"]) == (5, True, None)
    assert report["rates"] == {"in_per_s": 0, "in_from": "Kafka", "out_per_s": 0, "out_from": "PostgreSQL"}
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(oldest_ms / 1000)) + f".{oldest_ms % 1000:03d}Z"
    assert report["oldest_unsettled_at"] == moment
    assert report["workers"]["retries"] is None


def test_without_kafka_or_postgresql_the_rest_is_shown_with_exit_code_4(system: System) -> None:
    worker = system.start_worker()
    system.produce([make_value(), b"broken"])
    system.settled(2)
    eventually(lambda: worker.metric(f'keepstream_consumer_lag_events{{partition="0",topic="{system.topic}"}}') == 0)
    blind = status(system, NO_KAFKA | urls(worker), exit_code=4)
    assert missing(blind) == ["Kafka"]
    assert blind["outcomes"]["failed"] == blind["dead_letters"]["open"] == 1
    assert (blind["lag"]["total"], blind["lag"]["from"]) == (0, "workers")
    bookless = status(system, NO_POSTGRES | urls(worker), exit_code=4)
    assert missing(bookless) == ["PostgreSQL"]
    assert bookless["outcomes"] is bookless["dead_letters"] is None
    assert (bookless["rates"]["in_from"], bookless["rates"]["out_from"]) == ("Kafka", "workers")
    nothing = status(system, NO_KAFKA | NO_POSTGRES, exit_code=4)
    assert sorted(missing(nothing)) == ["Kafka", "PostgreSQL", "workers"]
    assert nothing["lag"] is nothing["rates"]["in_per_s"] is None


def test_a_pause_is_named_with_its_reason(own_servers: Servers, tmp_path: Path) -> None:
    assert own_servers.postgres
    with Postgres(own_servers.postgres_url).new_schema() as database:
        system = System(Kafka(own_servers.bootstrap_servers), database, tmp_path)
        try:
            worker = system.start_worker(KEEPSTREAM_POSTGRES__CONNECT_TIMEOUT_S="2")
            system.produce([make_value()])
            system.settled(1)
            own_servers.postgres.stop(keep_data=True)
            system.produce([make_value()])
            labels = f'reason="database_unreachable",step="store",topic="{system.topic}",verdict="systemic"'
            eventually(lambda: worker.metric(f"keepstream_step_failures_total{{{labels}}}") >= 1, 60)
            eventually(lambda: worker.metric("keepstream_paused_partitions") == 1, 60)
            report = status(system, urls(worker), exit_code=4)
        finally:
            system.stop()
            own_servers.postgres.start()
    assert missing(report) == ["PostgreSQL"]
    assert report["workers"]["held_partitions"] == 1
    (why,) = report["workers"]["not_ready"].values()
    assert f"1 partitions are paused; {system.topic}-0:" in why
    assert "database_unreachable" in {row["reason"] for row in report["workers"]["step_failures"]}


def test_the_screen_and_its_errors_are_for_people(system: System) -> None:
    system.start_worker()
    system.produce([make_value(), b"broken"])
    system.settled(2)
    done = system.cli("status", "--interval", "0.2", exit_code=4, COLUMNS="160", **NO_KAFKA)
    assert "Kafka missing: Kafka cannot be reached at 127.0.0.1:1" in done.stdout
    assert "invalid_json" in done.stdout
    assert "Error: Kafka cannot be reached" in done.stderr


def test_watch_repeats_until_it_is_interrupted_and_shows_the_rate(system: System) -> None:
    system.start_worker()
    system.produce([make_value()])
    system.settled(1)
    watching = subprocess.Popen(
        system.cli_argv("status", "--watch", "--json", "--interval", "0.3"), env={**os.environ, **system.settings()},
        cwd=system.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert watching.stdout
        first = json.loads(watching.stdout.readline())
        assert first["rates"]["in_per_s"] is None
        system.produce([make_value() for _ in range(400)])
        rates = [json.loads(watching.stdout.readline())["rates"] for _ in range(8)]
        assert max(rate["in_per_s"] for rate in rates) > 0
        assert max(rate["out_per_s"] for rate in rates) > 0
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 130
    finally:
        watching.kill()
        watching.communicate()
