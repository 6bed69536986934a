"""docker-compose.yml fits the tree: its settings exist, its files exist, its commands exist, its ports stay at home."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from keepstream.app.cli.config import settings_rows
from keepstream.app.cli.root import root
from keepstream.app.config.settings import Settings
from keepstream.app.embedded.kafka_jars import KAFKA_VERSION

CHECKOUT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
VARIABLES = {row["variable"] for row in settings_rows(Settings(), "KEEPSTREAM_")}
each_service = pytest.mark.parametrize("name", SERVICES)
each_of_ours = pytest.mark.parametrize("name", OURS)


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    return [(source, target) for source, target, *_ in (text.split(":") for text in service.get("volumes", ()))]


def test_everything_that_a_worker_needs_is_there() -> None:
    assert {"kafka", "postgres", "migrate", "topics", "worker", "prometheus", "grafana"} <= set(SERVICES)


@each_of_ours
def test_every_setting_of_ours_exists_and_is_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in OURS[name]["environment"].items():
        assert variable in VARIABLES
        monkeypatch.setenv(variable, re.sub(r"\$\{\w+:-(\w+)\}", r"\1", value))
    settings = Settings()
    assert settings.kafka.bootstrap_servers == "kafka:19092"
    assert settings.postgres.url.get_secret_value() == "postgresql://keepstream:keepstream@postgres:5432/keepstream"


@each_of_ours
def test_every_command_of_ours_exists(name: str) -> None:
    command = OURS[name]["command"]
    root.make_context("keepstream", [*command, "--help"], resilient_parsing=True)
    words = [word for word in command if not word.startswith("-")]
    found = root.get_command(root.make_context("keepstream", [], resilient_parsing=True), words[0])
    assert found is not None
    if len(words) > 1 and words[0] in {"db", "topics"}:
        assert words[1] in found.commands  # type: ignore[attr-defined]


@each_service
def test_images_are_pinned_and_the_dockerfile_is_there(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":[\w.-]*\d|:local$", service["image"])
    assert not service["image"].endswith(":latest")
    if build := service.get("build"):
        assert (CHECKOUT / build["dockerfile"]).is_file()


def test_kafka_is_the_version_that_the_tests_run_on() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


@each_service
def test_ports_are_bound_to_loopback(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))


@each_service
def test_mounted_files_exist_and_are_read_only_and_volumes_are_declared(name: str) -> None:
    for text, (source, _) in zip(SERVICES[name].get("volumes", ()), mounts(SERVICES[name]), strict=True):
        if source.startswith("."):
            assert (CHECKOUT / source).exists(), source
            assert text.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


@each_service
def test_whom_a_service_waits_for_can_be_waited_for(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        healthy = how["condition"] == "service_healthy"
        assert "healthcheck" in SERVICES[other] if healthy else "restart" not in SERVICES[other]


def test_prometheus_scrapes_the_worker_at_its_port_and_finds_its_rules() -> None:
    config = yaml.safe_load((CHECKOUT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    job = next(job for job in config["scrape_configs"] if job["job_name"] == "keepstream")
    (found,) = job["dns_sd_configs"]
    assert found["names"] == ["worker"]
    assert str(found["port"]) == OURS["worker"]["environment"]["KEEPSTREAM_HTTP__PORT"]
    targets = {target for _, target in mounts(SERVICES["prometheus"])}
    assert {f"/etc/prometheus/{name}" for name in config["rule_files"]} <= targets


def test_grafana_finds_its_dashboards_where_it_is_told_to_look() -> None:
    provider = CHECKOUT / "deploy" / "grafana" / "provisioning" / "dashboards" / "keepstream.yml"
    path = yaml.safe_load(provider.read_text(encoding="utf-8"))["providers"][0]["options"]["path"]
    source = next(source for source, target in mounts(SERVICES["grafana"]) if target == path)
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (CHECKOUT / source / Path(home).name).is_file()


def test_grafana_asks_prometheus_where_it_listens() -> None:
    source = CHECKOUT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    url = yaml.safe_load(source.read_text(encoding="utf-8"))["datasources"][0]["url"]
    assert url == "http://prometheus:9090"


def test_a_worker_gets_longer_to_stop_than_its_drain_takes() -> None:
    grace_s = float(OURS["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings().worker.drain_timeout_s + 10
