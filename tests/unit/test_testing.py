"""`keepstream.testing`: the worker's own pipeline, for tests of a user's contract and transforms."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from keepstream import Event, Record
from keepstream.testing import Outcome, process, record
from tests.builders import AT, make_value

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs/own-events.md").read_text(encoding="utf-8")


def names(outcomes: list[Outcome]) -> list[str]:
    return [outcome.name for outcome in outcomes]


def test_each_outcome_is_the_pipelines() -> None:
    first, older = {"event_id": "a", "payload": {"n": 1}, "timestamp": AT}, "2026-11-23T10:00:00Z"
    outcomes = process([
        record(first), record(first), record(first | {"payload": {"n": 2}, "timestamp": "2026-11-25T10:00:00Z"}),
        record(first | {"payload": {"n": 3}, "timestamp": older}), record({"event_id": "b"}), record(None),
        record(b'{"event_id": "c", "payload": {"x": "\\u0000"}}'),
    ])  # fmt: skip
    assert names(outcomes) == ["delivered", "duplicate", "duplicate", "stale", *["dead_lettered"] * 3]
    assert outcomes[0].event == first | {"correlation_id": "a"}
    assert [outcome.event and outcome.event["payload"] for outcome in outcomes[1:4]] == [{"n": 1}, {"n": 2}, {"n": 2}]
    assert outcomes[4] == Outcome("dead_lettered", None, "validate", "missing_field", "payload: is required and absent")
    assert [outcome.reason for outcome in outcomes[5:]] == ["tombstone", "nul_character"]


def test_headers_key_and_timestamp_are_the_records() -> None:
    given = record(
        {"amount": 1}, key="k", headers={"ce_specversion": "1.0", "ce_id": "7", "ce_source": "/s"}, timestamp_ms=0
    )
    (outcome,) = process([given])
    assert outcome.event
    assert (outcome.event["event_id"], outcome.event["timestamp"]) == ("/s 7", "1970-01-01T00:00:00.000+00:00")


def test_mapping_steps_and_hook_apply_in_the_order_of_a_worker() -> None:
    def doubled(event: Event, record: Record) -> Event:
        return event.model_copy(update={"payload": {"n": event.payload["n"] * 2}})

    value = gzip.compress(b'{"id": 4711, "data": {"n": 2.5}}')
    parts = {"id": "order-{/id}", "payload": "/data"}
    (outcome,) = process([record(value)], mapping=parts, steps=[doubled, doubled], decode="gzip")
    assert outcome.event
    assert (outcome.event["event_id"], outcome.event["payload"]) == ("order-4711", {"n": Decimal(10)})
    (failed,) = process([record(value)], decode=lambda value, record: value[99])  # type: ignore[arg-type,return-value]
    assert failed.reason == "decode_failed"


def test_a_record_may_be_ignored_or_delete() -> None:
    heartbeat = {"source": "/type", "equals": "heartbeat"}
    given = [record(make_value(event_id="k")), record(None, key="k"), record({"type": "heartbeat"})]
    outcomes = process(given, mapping={"ignore": [heartbeat], "tombstones": "delete"})
    assert names(outcomes) == ["delivered", "duplicate", "ignored"]
    assert outcomes[1].event
    assert (outcomes[1].event["payload"], outcomes[1].event["metadata"]) == ({}, {"deleted": True})
    assert names(process(given, mapping={"tombstones": "ignore"})) == ["delivered", "ignored", "dead_lettered"]


def test_numbers_are_shown_with_their_digits() -> None:
    (outcome,) = process([record(b'{"event_id": "a", "payload": {"n": 1.10}}')])
    assert outcome.event
    assert str(outcome.event["payload"]["n"]) == "1.10"


def test_no_limit_pauses_the_run_and_what_settings_refuse_is_an_error() -> None:
    assert set(names(process([record(b"?")] * 5_100))) == {"dead_lettered"}
    with pytest.raises(ValueError, match="is no source"):
        process([], mapping={"id": "nonsense"})
    with pytest.raises(ValueError, match="no built-in hook"):
        process([], decode="zip")


def test_the_test_of_the_page_runs(tmp_path: Path) -> None:
    """With pytest, as a user would, beside the package of the page."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "shop_events").mkdir()
    (tmp_path / "shop_events/__init__.py").touch()
    (tmp_path / "shop_events/orders.py").write_text(blocks[0])
    (test,) = (block for block in blocks if "keepstream.testing" in block)
    (tmp_path / "test_orders.py").write_text(test)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_orders.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_a_worker_imports_none_of_it() -> None:
    code = (
        "import sys, keepstream.app.worker.run; print([n for n in sys.modules if 'keepstream' in n and 'testing' in n])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_value_of_the_builders_is_taken_as_it_is() -> None:
    assert names(process([record(make_value())])) == ["delivered"]
