"""docker-compose.yml fits the tree: its settings exist, its files exist, its commands exist, its ports stay at home."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from keepstream.app.cli.config import settings_rows
from keepstream.app.cli.root import root
from keepstream.app.config.base import is_loopback
from keepstream.app.config.postgres import effective
from keepstream.app.config.settings import Settings
from keepstream.app.embedded.kafka_jars import KAFKA_VERSION
from keepstream.app.web.server import check_safety

CHECKOUT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
VARIABLES = {row["variable"] for row in settings_rows(Settings(), "KEEPSTREAM_")}
each_service = pytest.mark.parametrize("name", SERVICES)
each_of_ours = pytest.mark.parametrize("name", OURS)


def with_defaults(value: str) -> str:
    """Return the value as it is where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    return [(source, target) for source, target, *_ in (text.split(":") for text in service.get("volumes", ()))]


def test_everything_that_a_worker_needs_is_there() -> None:
    assert {"kafka", "postgres", "migrate", "topics", "worker", "prometheus", "grafana"} <= set(SERVICES)


@each_of_ours
def test_every_setting_of_ours_exists_and_is_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in OURS[name]["environment"].items():
        assert variable in VARIABLES | {"PGPASSWORD"}
        monkeypatch.setenv(variable, with_defaults(value))
    settings = Settings()
    assert settings.kafka.bootstrap_servers == "kafka:19092"
    found = effective(settings.postgres.url.get_secret_value())
    assert (found["user"], found["host"], found["dbname"]) == ("keepstream", "postgres", "keepstream")


def test_a_password_of_any_characters_is_one_password(monkeypatch: pytest.MonkeyPatch) -> None:
    given, server = OURS["worker"]["environment"], SERVICES["postgres"]["environment"]
    assert "PASSWORD" not in given["KEEPSTREAM_POSTGRES__URL"]
    assert given["PGPASSWORD"] == server["POSTGRES_PASSWORD"]
    monkeypatch.setenv("PGPASSWORD", "p@ss/w#1")
    assert "p@ss/w#1" in effective(given["KEEPSTREAM_POSTGRES__URL"]).values()


@each_of_ours
def test_every_command_of_ours_exists(name: str) -> None:
    command = OURS[name]["command"] or shlex.split(OURS[name]["entrypoint"][-1].partition("| keepstream ")[2])
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


def test_every_published_port_can_be_moved_and_none_is_given_twice() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    taken: list[int] = []
    for port in ports:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-[\d-]+\}:\d+", port)
        first, _, last = with_defaults(port).split(":")[1].partition("-")
        taken += range(int(first), int(last or first) + 1)
    assert len(taken) == len(set(taken))


def test_the_broker_advertises_the_port_that_is_published() -> None:
    (port,) = SERVICES["kafka"]["ports"]
    listener = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].partition("EXTERNAL://")[2]
    assert listener == port.rpartition(":")[0]


def test_postgres_is_healthy_when_its_port_answers() -> None:
    """The server of the first start listens on its socket only, and ends before the real one starts."""
    check = SERVICES["postgres"]["healthcheck"]["test"]
    assert check[check.index("-h") + 1] == "127.0.0.1"


@each_service
def test_no_health_check_starts_a_java_machine(name: str) -> None:
    assert not [word for word in SERVICES[name].get("healthcheck", {}).get("test", ()) if word.endswith(".sh")]


def test_what_prepares_waits_for_its_server() -> None:
    assert all("--wait" in OURS[name]["command"] for name in ("migrate", "topics"))


@each_service
def test_a_service_comes_back_bounds_its_logs_and_its_memory(name: str) -> None:
    service = SERVICES[name]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert (service.get("restart") == "unless-stopped") == (name not in {"migrate", "topics"})


def test_the_console_serves_beyond_loopback_with_a_login_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in OURS["web"]["environment"].items():
        monkeypatch.setenv(variable, with_defaults(value))
    settings = Settings()
    assert not is_loopback(settings.web.host)
    check_safety(settings.web)
    (port,) = OURS["web"]["ports"]
    assert settings.web.public_url == f"http://{with_defaults(port).rpartition(':')[0]}"
    assert with_defaults(port).endswith(f":{settings.web.port}")


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


def test_grafana_finds_its_dashboards_where_it_is_configured_to_search() -> None:
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
