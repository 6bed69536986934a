"""docker-compose.yml, up: everything is healthy, events flow, and what was stored outlives it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.builders import make_value
from tests.container.compose import TOKEN, Compose
from tests.real import eventually

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(600)]
HEALTHY = {"kafka", "postgres", "worker", "web", "prometheus"}
EVENTS = 200


def status(compose: Compose) -> dict[str, Any]:
    """Return what `keepstream status` prints in the worker's container."""
    report: dict[str, Any] = json.loads(compose.keepstream("status", "--json").splitlines()[-1])
    return report


def outcomes(compose: Compose) -> tuple[int, int]:
    counted = status(compose)["outcomes"]
    return counted["delivered"], counted["failed"]


def test_everything_is_healthy_and_what_prepares_it_has_ended_well(compose: Compose) -> None:
    containers = {row["Service"]: row for row in compose.containers().values()}
    assert {name: containers[name]["Health"] for name in HEALTHY} == dict.fromkeys(HEALTHY, "healthy")
    assert {name: containers[name]["ExitCode"] for name in ("migrate", "topics")} == {"migrate": 0, "topics": 0}
    assert "ok" in compose.keepstream("doctor")


def test_events_flow_and_a_bad_one_is_a_dead_letter(compose: Compose) -> None:
    compose.kafka.produce("events", [make_value(event_id=f"e-{n}") for n in range(EVENTS)] + [b"not JSON"])
    eventually(lambda: compose.row_count() == EVENTS, 60, "all events are rows")
    eventually(lambda: outcomes(compose) == (EVENTS, 1), 30, "all outcomes are counted")
    (letter,) = compose.keepstream("dlq", "list", "--json").splitlines()
    assert json.loads(letter)["reason"] == "invalid_json"
    compose.keepstream("audit")


def test_the_console_shows_it_to_who_has_the_token(compose: Compose) -> None:
    page = compose.get("CONSOLE_PORT", "/dead-letters", Authorization=f"Bearer {TOKEN}")
    assert "invalid_json" in page


def test_prometheus_scrapes_every_worker(compose: Compose) -> None:
    compose("up", "--detach", "--wait", "--scale", "worker=3", "--no-recreate", timeout_s=180)
    query = "/api/v1/query?query=sum(up%7Bjob%3D%22keepstream%22%7D)"

    def workers() -> str:
        found = json.loads(compose.get("PROMETHEUS_PORT", query))["data"]["result"]
        return found[0]["value"][1] if found else "0"

    eventually(lambda: workers() == "3", 90, "three targets are up")
    assert json.loads(compose.get("PROMETHEUS_PORT", "/api/v1/rules"))["data"]["groups"]


def test_grafana_can_read_its_dashboards(compose: Compose) -> None:
    folder = "/etc/grafana/dashboards/keepstream-overview.json"
    assert json.loads(compose("exec", "-T", "grafana", "cat", folder))["panels"]


def test_the_demo_profile_moves_the_dashboards(compose: Compose) -> None:
    before = compose.row_count()
    compose("--profile", "demo", "up", "--detach", "demo", timeout_s=180)
    eventually(lambda: compose.row_count() > before + 100, 60, "the demo's events are rows")
    assert len(compose.keepstream("dlq", "list", "--json").splitlines()) >= 1
    compose("--profile", "demo", "rm", "--force", "--stop", "demo")


def test_down_and_up_again_keep_the_rows(compose: Compose) -> None:
    eventually(lambda: status(compose)["lag"]["total"] == 0, 30, "nothing is left to settle")
    before = compose.row_count()
    compose("down")
    compose("up", "--detach", "--wait", timeout_s=180)
    assert compose.row_count() == before
    assert before >= EVENTS
    compose.keepstream("audit")
