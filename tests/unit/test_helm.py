"""The Helm chart gives the objects of the kustomization, and takes the values of its README."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from keepstream.app.config.settings import Settings
from tests.unit.test_kubernetes import CONFIG, DEPLOY, KUSTOMIZATION, MANIFESTS

CHART = DEPLOY / "helm"
README = (CHART / "README.md").read_text(encoding="utf-8")
(OF_README,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
HELM = shutil.which("helm") or shutil.which("helm", path=str(DEPLOY.parent / ".venv/tools/bin"))
NO_KEDA = {"keda": {"enabled": False}, "worker": {"replicas": 3}}
_OWN = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "checksum/settings", "namespace"}
"""What Kustomize or Helm adds to tell whose an object is."""
needs_helm = pytest.mark.skipif(HELM is None, reason="needs helm; `make manifests` brings it")


def template(values: dict[str, Any] | str = "", release: str = "keepstream") -> subprocess.CompletedProcess[str]:
    argv = [str(HELM), "template", release, str(CHART), "--kube-version", "1.32.0", "--values", "-"]
    text = values if isinstance(values, str) else json.dumps(values)
    return subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=60)


def objects(values: dict[str, Any] | str = "", release: str = "keepstream") -> dict[str, Any]:
    done = template(values, release)
    assert done.returncode == 0, done.stderr
    return {found["kind"]: found for found in yaml.safe_load_all(done.stdout)}


def plain(value: Any) -> Any:
    """Return the object without the labels that only one of the two tools adds, and without the Job's hash."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        kept = {key: plain(item) for key, item in value.items() if key not in _OWN}
        return {key: item for key, item in kept.items() if item or key not in {"labels", "annotations", "matchLabels"}}
    return re.sub(r"^(keepstream-migrate)-[0-9a-f]{8}$", r"\1", value) if isinstance(value, str) else value


@needs_helm
def test_the_defaults_give_the_objects_of_the_kustomization() -> None:
    (image,) = KUSTOMIZATION["images"]
    text = json.dumps([*MANIFESTS.values()])
    text = text.replace('"image": "keepstream"', f'"image": "{image["newName"]}:{image["newTag"]}"')
    ours = {found["kind"]: plain(found) for found in json.loads(text)}
    del ours["Namespace"]  # Helm keeps a release in its namespace, which is there before
    assert {kind: plain(found) for kind, found in objects().items()} == ours


@needs_helm
def test_the_values_of_the_readme_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    found = objects(OF_README)
    assert "ScaledObject" not in found
    assert found["Deployment"]["spec"]["replicas"] == 3
    assert found["NetworkPolicy"]["spec"]["egress"][1]["to"] == [{"ipBlock": {"cidr": "203.0.113.0/24"}}]
    (worker,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    (migrate,) = found["Job"]["spec"]["template"]["spec"]["containers"]
    for variable, value in found["ConfigMap"]["data"].items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv(worker["env"][1]["name"], "secret")
    assert Settings(_env_file=None).kafka.security.tls
    assert len(migrate["env"]) == 1


@needs_helm
def test_what_is_switched_off_is_not_there() -> None:
    off = {name: {"enabled": False} for name in ("migrate", "podDisruptionBudget", "networkPolicy", "serviceMonitor")}
    assert set(objects(NO_KEDA | off)) == {"ConfigMap", "Deployment", "Service", "ServiceAccount"}


@needs_helm
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"keda": {"enable": False}}, "enable"),
        ({"keda": {"enabled": False}}, "set worker.replicas"),
        ({"worker": {"replicas": 3}}, "ScaledObject sets the replicas"),
        ({"settings": {"KEEPSTREAM_WORKER__BATCH_SIZE": 1000000}}, "string"),
        ({"settings": {"KEEPSTREAM_POSTGRES__URL": "postgresql://u:p@db/d"}}, "settings"),
    ],
    ids=["misspelled", "no replicas", "two who decide", "a number that Helm would round", "a secret"],
)
def test_values_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    done = template(values)
    assert done.returncode != 0
    assert message in done.stderr


@needs_helm
def test_two_releases_in_a_namespace_select_their_own_pods() -> None:
    orders, events = objects(release="orders"), objects(release="events")
    for kind, found in orders.items():
        assert found["metadata"]["name"] != events[kind]["metadata"]["name"]
    of_orders = orders["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for policy in ("NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceMonitor"):
        spec = events[policy]["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        assert not (selector.get("matchLabels") or selector).items() <= of_orders.items()


@needs_helm
def test_a_job_is_never_changed_and_a_changed_setting_restarts_the_workers() -> None:
    before, after = objects(), objects({"settings": {"KEEPSTREAM_LOG__LEVEL": "debug"}})
    resources = objects({"migrate": {"resources": {"limits": {"memory": "512Mi"}}}})
    assert len({found["Job"]["metadata"]["name"] for found in (before, after, resources)}) == 3
    annotations = [found["Deployment"]["spec"]["template"]["metadata"]["annotations"] for found in (before, after)]
    assert annotations[0] != annotations[1]


def test_the_chart_has_the_version_and_the_settings_of_the_tree() -> None:
    """Also where there is no helm."""
    chart, values = (
        yaml.safe_load((CHART / name).read_text(encoding="utf-8")) for name in ("Chart.yaml", "values.yaml")
    )
    (image,) = KUSTOMIZATION["images"]
    assert (values["image"]["repository"], chart["appVersion"]) == (image["newName"], image["newTag"])
    assert values["settings"] == CONFIG
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]
    assert set(values) <= set(schema)
    for name, section in values.items():
        assert not isinstance(section, dict) or set(section) <= set(schema[name].get("properties", section)), name
