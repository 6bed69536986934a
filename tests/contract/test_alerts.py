"""The alerts: promtool's word on them, their runbook, and that they speak of metrics that exist."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from keepstream.app.cli.root import root
from keepstream.sinks.prometheus.catalogue import CATALOGUE, Kind
from keepstream.sinks.prometheus.metrics import PrometheusMetrics
from tests.prometheus import DEPLOY, RULES, program, quick_time

CHECKOUT = DEPLOY.parent
RUNBOOK = (CHECKOUT / "docs" / "runbook.md").read_text(encoding="utf-8")
RULE_TESTS = DEPLOY / "prometheus" / "tests" / "keepstream_test.yml"
LOADED = [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in LOADED if "alert" in rule}
each_alert = pytest.mark.parametrize("name", ALERTS)


def promtool(*arguments: str | Path, stdin: bytes | None = None) -> str:
    done = subprocess.run([program("promtool"), *map(str, arguments)], input=stdin, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", RULES)
    promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")


def test_every_alert_fires_and_clears_when_it_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", RULE_TESTS)


@each_alert
def test_an_alert_is_tested_for_firing_and_for_silence(name: str) -> None:
    text = yaml.safe_load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]
    cases = [case for test in text for case in test.get("alert_rule_test", ()) if case["alertname"] == name]
    assert any(case["exp_alerts"] for case in cases)
    assert sum(not case["exp_alerts"] for case in cases) >= 2 or name in {
        "KeepstreamBudgetBurnsSlowly",
        "KeepstreamBudgetDrifts",
    }


def test_promtool_has_nothing_to_say_about_our_metrics() -> None:
    metrics = PrometheusMetrics(["events"])
    metrics.watch_pool("events", dict)
    metrics.set_build_info("1", "2")
    metrics.lag.labels("events", "0").set(1)
    assert promtool("check", "metrics", stdin=metrics.render()) == ""


@each_alert
def test_an_alert_has_a_severity_a_sentence_and_a_section_in_the_runbook(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    assert f"\n## {name}\n" in RUNBOOK


@each_alert
def test_a_section_of_the_runbook_says_what_it_means_how_to_look_and_what_to_do(name: str) -> None:
    section = RUNBOOK.split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert all(word in section for word in ("**Means**", "**Look**", "**Do**"))
    assert re.search(r"```sh\n[^`]+```", section)


def test_the_runbook_has_no_section_for_an_alert_that_does_not_exist() -> None:
    assert set(re.findall(r"\n## (Keepstream\w+)\n", RUNBOOK)) == set(ALERTS)


@pytest.mark.parametrize("rule", LOADED, ids=lambda rule: str(rule.get("alert") or rule.get("record")))
def test_rules_ask_only_for_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    ends = ("bucket", "count", "sum")
    known = {m.series: set(m.labels) for m in CATALOGUE if m.kind is not Kind.HISTOGRAM}
    known |= {f"{m.series}_{end}": {*m.labels, "le"} for m in CATALOGUE if m.kind is Kind.HISTOGRAM for end in ends}
    for name, matchers in re.findall(r"\b(keepstream_\w+)\{([^}]*)\}", rule["expr"]):
        assert set(re.findall(r"(\w+)=", matchers)) <= known[name] | {"job", "instance"}


@each_alert
def test_an_alert_about_series_of_a_topic_names_the_topic(name: str) -> None:
    """The budget's alerts ask for recorded rules, each of which is by topic."""
    asked = set(re.findall(r"\b(keepstream[_:]\w+(?::\w+)?)", ALERTS[name]["expr"]))
    by_topic = {m.series for m in CATALOGUE if "topic" in m.labels} | {rule.get("record") for rule in LOADED}
    assert ("$labels.topic" in ALERTS[name]["annotations"]["summary"]) == bool(asked & by_topic)


def test_quick_time_turns_minutes_into_seconds() -> None:
    text = "expr: rate(x[5m]) > 60 and y_rate5m[1h]\nfor: 15m\nfor: 1h\n"
    assert quick_time(text) == "expr: rate(x[5s]) > 60 and y_rate5m[1m]\nfor: 15s\nfor: 1m\n"


def test_the_page_of_metrics_is_what_the_catalogue_says() -> None:
    written = runpy.run_path(str(CHECKOUT / "docs" / "build_metrics.py"))["render"]()
    assert (CHECKOUT / "docs" / "metrics.md").read_text(encoding="utf-8") == written, "run `make docs`"


def commands_of_the_runbook() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", RUNBOOK, re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`(keepstream [^`]+)`", RUNBOOK)
    return sorted({line for line in [*lines, *inline] if line.startswith("keepstream ")})


@pytest.mark.parametrize("line", commands_of_the_runbook())
def test_a_command_of_the_runbook_exists_with_its_options(line: str) -> None:
    found: click.Command = root
    words = shlex.split(line)[1:]
    while isinstance(found, click.Group):
        following = found.get_command(click.Context(found), words.pop(0))
        assert following is not None, line
        found = following
    if words:
        found.make_context(found.name, words)
    takes_topic = any("--topic" in parameter.opts for parameter in found.params)
    assert takes_topic or line.startswith("keepstream config"), "the topic that an alert names cannot be given"
