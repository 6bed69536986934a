"""Write deploy/grafana/dashboards/*.json: ``python deploy/grafana/build.py``. The JSON is committed and never edited.

What they show is in panels.yml.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from keepstream.sinks.prometheus.catalogue import CATALOGUE

HERE = Path(__file__).parent
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
MATCHERS = 'job=~"$job",instance=~"$instance"'
ENDS = ("", "_total", "_bucket", "_count", "_sum")
WITH_TOPIC = {metric.family + end for metric in CATALOGUE if "topic" in metric.labels for end in ENDS}
COLUMNS = 24
Spec = dict[str, Any]


def expression(query: str) -> str:
    """Return the query with its matchers: a series that has the label ``topic`` also matches that variable."""
    matched = re.sub(r"(\w+){%", lambda found: f"{found[1]}{{{matchers(found[1])}", query)
    return matched.replace("$R", "$__rate_interval")


def matchers(series: str) -> str:
    return MATCHERS + ',topic=~"$topic"' if series in WITH_TOPIC else MATCHERS


def panel_json(panel: Spec, number: int, x: int, y: int) -> dict[str, Any]:
    kind, stacked = panel.get("kind", "timeseries"), panel.get("stacked", False)
    defaults: dict[str, Any] = {"unit": panel["unit"]}
    if kind == "timeseries":
        stacking = {"mode": "normal" if stacked else "none", "group": "A"}
        defaults["min"] = 0
        defaults["custom"] = {"fillOpacity": 20 if stacked else 5, "showPoints": "never", "stacking": stacking}
    return {
        "id": number,
        "type": kind,
        "title": panel["title"],
        "description": panel["about"],
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.get("width", 8), "h": 4 if kind == "stat" else 8},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": OPTIONS[kind],
        "targets": [target_json(kind, position, **query) for position, query in enumerate(panel["queries"])],
    }


OPTIONS: dict[str, dict[str, Any]] = {
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area", "textMode": "auto"},
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "heatmap": {"calculate": False, "yAxis": {"unit": "short"}, "color": {"scheme": "Oranges", "mode": "scheme"}},
    "table": {"showHeader": True, "sortBy": [{"displayName": "Value", "desc": True}]},
}


def target_json(kind: str, position: int, expr: str, legend: str = "") -> dict[str, Any]:
    shape = {"heatmap": "heatmap", "table": "table"}.get(kind, "time_series")
    return {
        "refId": "ABCDEFGH"[position],
        "datasource": DATASOURCE,
        "expr": expression(expr),
        "legendFormat": "{{le}}" if kind == "heatmap" else legend,
        "format": shape,
        "instant": kind == "table",
        "range": kind != "table",
    }


def variable(name: str, metric: str) -> dict[str, Any]:
    values = f"label_values({metric}, {name})"
    return {
        "name": name, "label": name.capitalize(), "type": "query", "datasource": DATASOURCE, "refresh": 2,
        "query": {"query": values, "refId": name}, "definition": values,
        "multi": True, "includeAll": True, "allValue": ".+", "sort": 1,
        "current": {"selected": True, "text": "All", "value": "$__all"},
    }  # fmt: skip


def annotation(name: str, query: str, colour: str) -> dict[str, Any]:
    return {"name": name, "datasource": DATASOURCE, "enable": True, "expr": expression(query), "iconColor": colour,
            "titleFormat": name, "textFormat": "{{instance}}", "step": "30s"}  # fmt: skip


def dashboard_json(board: Spec) -> dict[str, Any]:
    return {
        "uid": board["uid"],
        "title": board["title"],
        "description": board["about"],
        "tags": ["keepstream"],
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1,
             "current": {"text": "Prometheus", "value": "prometheus"}},
            variable("job", "keepstream_build_info"),
            variable("instance", 'keepstream_build_info{job=~"$job"}'),
            variable("topic", 'keepstream_events_received_total{job=~"$job",instance=~"$instance"}'),
        ]},
        "annotations": {"list": [
            annotation("Worker started", "changes(process_start_time_seconds{%}[$R]) > 0", "green"),
            annotation("Rebalance", "increase(keepstream_rebalances_total{%}[$R]) > 0", "purple"),
        ]},
        "links": [{"title": "keepstream", "type": "dashboards", "tags": ["keepstream"], "asDropdown": False,
                   "includeVars": True, "keepTime": True}],
        "panels": [*laid_out(board)],
    }  # fmt: skip


def laid_out(board: Spec) -> list[dict[str, Any]]:
    """Place panels from left to right, rows below each other."""
    found: list[dict[str, Any]] = []
    y = 0
    for row in board["rows"]:
        found.append({"id": len(found) + 1, "type": "row", "title": row["title"], "collapsed": False, "panels": [],
                      "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}})  # fmt: skip
        x, y, height = 0, y + 1, 0
        for panel in row["panels"]:
            width = panel.get("width", 8)
            if x + width > COLUMNS:
                x, y, height = 0, y + height, 0
            found.append(panel_json(panel, len(found) + 1, x, y))
            x, height = x + width, max(height, found[-1]["gridPos"]["h"])
        y += height
    return found


def render() -> dict[str, str]:
    """Return the JSON of every dashboard by its file's name."""
    boards = yaml.safe_load((HERE / "panels.yml").read_text(encoding="utf-8"))
    texts = {board["uid"]: json.dumps(dashboard_json(board), indent=2, ensure_ascii=False) for board in boards}
    return {f"{uid}.json": text + "\n" for uid, text in texts.items()}


if __name__ == "__main__":
    for name, text in render().items():
        (HERE / "dashboards" / name).write_text(text, encoding="utf-8")
