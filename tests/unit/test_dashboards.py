"""The dashboards obey the rules of Grafana's dashboard-linter, and are what deploy/grafana/build.py writes."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from keepstream.sinks.prometheus.catalogue import CATALOGUE, Kind

GRAFANA = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
BOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
DATASOURCE = "${datasource}"
FIXED_RANGES = {"30d": "the objective's own window", "1h": "the title says: in the last hour"}
"""Ranges that are not Grafana's own, and why."""
PARTS = {f"{m.series}_{end}" for m in CATALOGUE if m.kind is Kind.HISTOGRAM for end in ("bucket", "count", "sum")}
OF_A_TOPIC = {m.series for m in CATALOGUE if "topic" in m.labels}
NOT_OURS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_start_time_seconds",
}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for uid, board in BOARDS.items():
        for panel in board["panels"]:
            if panel["type"] != "row":
                yield f"{uid}: {panel['title']}", panel


PANELS = dict(panels())
TARGETS = {f"{name} {target['refId']}": target["expr"] for name, panel in PANELS.items() for target in panel["targets"]}
each_panel = pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
each_query = pytest.mark.parametrize("query", TARGETS.values(), ids=TARGETS)
each_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def test_what_is_committed_is_what_the_script_writes() -> None:
    written = runpy.run_path(str(GRAFANA / "build.py"))["render"]()
    assert {path.name: path.read_text(encoding="utf-8") for path in FILES} == written


def test_there_is_an_overview_one_for_dead_letters_and_one_for_saturation() -> None:
    assert set(BOARDS) == {"keepstream-overview", "keepstream-dead-letters", "keepstream-saturation"}


@each_board
def test_a_dashboard_has_a_stable_uid_refreshes_and_cannot_be_edited_by_hand(board: dict[str, Any]) -> None:
    assert board["uid"] in BOARDS
    assert board["title"]
    assert board["description"]
    assert board["refresh"]
    assert board["editable"] is False


@each_board
def test_a_dashboard_has_templates_for_datasource_job_instance_and_topic_that_follow_the_time(
    board: dict[str, Any],
) -> None:
    source, *others = board["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert [variable["name"] for variable in others] == ["job", "instance", "topic"]
    for variable in others:
        assert variable["datasource"]["uid"] == DATASOURCE
        assert variable["multi"]
        assert variable["allValue"] == ".+"
        assert variable["refresh"] == 2
        assert variable["current"]["text"] == "All"
        source = "events_received_total" if variable["name"] == "topic" else "build_info"
        assert re.match(rf"label_values\(keepstream_{source}\b.*, {variable['name']}\)", variable["query"]["query"])


@each_board
def test_panels_have_ids_of_their_own_and_do_not_overlap(board: dict[str, Any]) -> None:
    found = board["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in found):
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


@each_panel
def test_a_panel_says_what_it_shows_in_which_unit_from_the_chosen_datasource(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith((".", "`."))
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == DATASOURCE
    assert panel["targets"]
    assert all(target["datasource"]["uid"] == DATASOURCE for target in panel["targets"])


@each_query
def test_every_selector_of_a_query_matches_job_instance_and_the_topic_of_a_series_that_has_one(query: str) -> None:
    selectors = re.findall(r"\b((?:keepstream|process)_\w+)(\{[^}]*\})?", query)
    assert selectors
    for name, matchers in selectors:
        assert 'job=~"$job"' in matchers, name
        assert 'instance=~"$instance"' in matchers, name
        assert ('topic=~"$topic"' in matchers) == (re.sub(r"_(bucket|count|sum)$", "", name) in OF_A_TOPIC), name


@each_query
def test_ranges_are_grafanas_own_or_have_a_reason(query: str) -> None:
    ranges = set(re.findall(r"\[([^]]+)\]", query))
    assert ranges <= {"$__rate_interval", *FIXED_RANGES}


@each_query
def test_counters_are_rated_and_gauges_are_not(query: str) -> None:
    counters = {m.series for m in CATALOGUE if m.kind is Kind.COUNTER} | PARTS
    for name, rest in re.findall(r"\b(keepstream_\w+)\{[^}]*\}(\[?)", query):
        exact = name == "keepstream_recorded_events_total"
        assert (name in counters and not exact) == bool(rest), name


def test_only_metrics_that_exist_are_shown_and_all_of_the_catalogue_are_shown_or_alerted_on() -> None:
    rules = (GRAFANA.parent / "prometheus" / "keepstream.rules.yml").read_text(encoding="utf-8")
    text = " ".join(TARGETS.values())
    shown = set(re.findall(r"\b((?:keepstream|process)_\w+)", text)) - NOT_OURS
    known = {m.series for m in CATALOGUE} | PARTS
    assert shown <= known
    assert {m.series for m in CATALOGUE if m.series not in text + rules} == {"keepstream_build_info"}


def test_provisioning_loads_the_folder_forbids_edits_and_names_the_datasource_as_the_dashboards_do() -> None:
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "keepstream.yml").read_text(encoding="utf-8"))
    assert provider["providers"][0]["allowUiUpdates"] is False
    source = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["uid"] == BOARDS["keepstream-overview"]["templating"]["list"][0]["current"]["value"]
