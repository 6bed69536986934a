"""A topic of which three quarters are tombstones: every record is in one sum, wherever the sums are shown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from keepstream.app.demo.proof import prove
from keepstream.app.demo.traffic import DemoProducer, DemoRecord
from keepstream.schemas.outcome import Outcome
from tests.acceptance.conftest import System, Worker
from tests.acceptance.console import console
from tests.builders import make_value
from tests.real import eventually

pytestmark = pytest.mark.real

ORDERS = {"KEEPSTREAM_TABLE__NAME": "orders", "KEEPSTREAM_TABLE__COLUMNS": '{"amount": "/amount"}'}
KEYS = 30
FLOOD_LIMIT = 10
HEARTBEAT = {"KEEPSTREAM_MAPPING__IGNORE": '[{"source": "/type", "equals": "heartbeat"}]'}
LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()
EXPECTED = {
    "ignore": {"delivered": KEYS, "duplicate": 2, "stale": 1, "ignored": 3 * KEYS + 11, "failed": 2},
    "delete": {"delivered": KEYS, "duplicate": 3 * KEYS + 11, "stale": 2, "ignored": 1, "failed": 2},
}


def records(tombstones: str) -> list[DemoRecord]:
    """For each key an event and three tombstones; then an event that comes back, an older one, and other endings."""
    delete = tombstones == "delete"
    gone = Outcome.DUPLICATE if delete else Outcome.IGNORED
    made = []
    for key in (f"k-{number}" for number in range(KEYS)):
        made.append(DemoRecord("event", Outcome.DELIVERED, key.encode(), make_value(event_id=key)))
        made += [DemoRecord("tombstone", gone, key.encode(), None)] * 3
    back, older = (make_value(event_id="k-0", timestamp=at) for at in (LATER, "2026-11-24T09:00:00Z"))
    again = make_value(event_id="k-1")
    return [
        *made,
        DemoRecord("newer", Outcome.DUPLICATE, b"k-0", back),
        DemoRecord("older", Outcome.STALE, b"k-0", older),
        *[DemoRecord("tombstone", gone, b"k-1", None)] * 10,
        DemoRecord("again", Outcome.STALE if delete else Outcome.DUPLICATE, b"k-1", again),
        DemoRecord("heartbeat", Outcome.IGNORED, b"", b'{"type": "heartbeat"}'),
        DemoRecord("broken", Outcome.DEAD_LETTERED, b"", b"{"),
        DemoRecord("empty", Outcome.DEAD_LETTERED, b"", b""),
    ]


@pytest.mark.parametrize("tombstones", ["ignore", "delete"])
def test_a_topic_of_mostly_tombstones_flows_and_every_sum_is_exact(
    new_system: Callable[..., System], tombstones: str
) -> None:
    system = new_system(
        KEEPSTREAM_MAPPING__TOMBSTONES=tombstones, KEEPSTREAM_WORKER__FLOOD_LIMIT=str(FLOOD_LIMIT), **HEARTBEAT
    )
    sent = records(tombstones)
    assert sum(record.value is None for record in sent) * 4 >= 3 * (len(sent) - 5) > 0
    producer = DemoProducer({"bootstrap.servers": system.kafka.bootstrap_servers}, system.topic)
    for record in sent:
        producer.send(record)
    producer.flush()
    worker = system.start_worker()
    system.settled(len(sent))
    outcomes = EXPECTED[tombstones]
    assert {name: system.database.totals()[name] for name in outcomes} == outcomes
    assert_rows(system, tombstones)
    assert_shown(system, worker, outcomes, len(sent))
    assert_proven(system, producer)


def assert_rows(system: System, tombstones: str) -> None:
    """Deleted are all but the one that came back; nothing else was written."""
    query = "SELECT event_id, payload, metadata FROM events WHERE metadata @> '{\"deleted\": true}' ORDER BY event_id"
    deleted = system.database.rows(query)
    expected = sorted(f"k-{number}" for number in range(1, KEYS)) if tombstones == "delete" else []
    assert [*map(tuple, deleted)] == [(key, {}, {"deleted": True}) for key in expected]
    assert Counter(str(letter.value) for letter in system.dead().values()) == {"b'{'": 1, "b''": 1}


def assert_shown(system: System, worker: Worker, outcomes: dict[str, int], total: int) -> None:
    """Audit, metrics, status and console name the same numbers."""
    audit = system.cli("audit", "--deep").stdout
    assert f"consumed = delivered + duplicate + stale + ignored + dead-lettered: {total} = {total}" in audit
    names = {"failed": "dead_lettered"}
    for name, count in outcomes.items():
        outcome = names.get(name, name)
        assert (
            worker.metric(f'keepstream_events_processed_total{{outcome="{outcome}",topic="{system.topic}"}}') == count
        )
        recorded = f'keepstream_recorded_events_total{{outcome="{outcome}",topic="{system.topic}"}}'
        eventually(lambda: worker.metric(recorded) == count, 40, recorded)  # noqa: B023 - called at once
    assert json.loads(system.cli("status", "--json", "--interval", "0.2").stdout)["outcomes"] == outcomes
    assert (
        f"{outcomes['duplicate']}, {outcomes['stale']}, {outcomes['ignored']}"
        in system.cli("status", "--interval", "0.2").stdout
    )
    with console(system.settings()) as running:
        page = 'class="key {}">{}</span> <b id="{}">{}</b>'
        shown = [page.format(n, names.get(n, n).replace("_", "-"), n, f"{c:,}") for n, c in outcomes.items()]
        eventually(lambda: all(one in running.get("/").text for one in shown), 20, "the console shows them")


def assert_proven(system: System, producer: DemoProducer) -> None:
    """The producer's own counts are those of the proof."""
    with system.database.connect() as connection:
        proof = prove(connection, system.topic, producer, system.dead().values(), 0)
    assert [check for check in proof.checks if not check.holds] == []
    (claim,) = [check for check in proof.checks if check.claim.startswith("produced = ")]
    assert claim.claim == "produced = delivered + duplicate + stale + ignored + dead-lettered"


def test_the_row_of_a_custom_table_goes_and_comes_back_with_its_event(new_system: Callable[..., System]) -> None:
    system = new_system(KEEPSTREAM_MAPPING__TOMBSTONES="delete", **ORDERS)
    with system.database.connect() as connection:
        connection.execute("CREATE TABLE orders (event_id text PRIMARY KEY, amount int NOT NULL)")
    system.cli("tables", "apply", "--yes")
    system.start_worker()
    system.kafka.produce(system.topic, [make_value(event_id=key) for key in ("a", "b")])
    system.settled(2)
    system.kafka.produce(system.topic, [None], key=b"a")
    system.settled(3)
    assert system.database.rows("SELECT event_id FROM orders") == [("b",)]
    system.kafka.produce(system.topic, [make_value(event_id="a", timestamp=LATER)])
    system.settled(4)
    assert sorted(system.database.rows("SELECT event_id FROM orders")) == [("a",), ("b",)]
    assert system.database.totals()["failed"] == 0
