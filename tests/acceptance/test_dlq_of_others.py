"""A dead letter topic that others write: several origins, two consumer groups, names of their own."""

from __future__ import annotations

import pytest

from tests.acceptance.dead_letters import SeededTopic

pytestmark = pytest.mark.real

OWN_NAMES = {
    "KEEPSTREAM_DLQ_HEADERS__TOPIC": "from", "KEEPSTREAM_DLQ_HEADERS__PARTITION": "from-partition",
    "KEEPSTREAM_DLQ_HEADERS__OFFSET": "from-offset", "KEEPSTREAM_DLQ_HEADERS__TIMESTAMP": "from-time",
    "KEEPSTREAM_DLQ_HEADERS__CONSUMER_GROUP": "group", "KEEPSTREAM_DLQ_HEADERS__REASON": "why",
}  # fmt: skip


def fail(dlq: SeededTopic, topic: str, offset: int, group: str) -> None:
    where = [("from", topic), ("from-partition", "0"), ("from-offset", str(offset)), ("from-time", "1795000000000")]
    headers = [*where, ("group", group), ("why", f"of {group}")]
    dlq.produce(b"no event", b"k", [(name, text.encode()) for name, text in headers])


def test_origins_and_groups_of_one_topic_are_told_apart_by_the_names_of_the_settings(dlq: SeededTopic) -> None:
    dlq.environment |= OWN_NAMES
    orders, bills = (dlq.kafka.new_topic(1, name) for name in ("orders", "bills"))
    for group in ("billing", "mail"):
        fail(dlq, orders, 5, group)
    fail(dlq, bills, 7, "billing")
    dlq.add(1)

    def listed(*arguments: str) -> list[str]:
        return sorted(row["id"] for row in dlq.here("dlq", "list", "--json", *arguments).rows)

    of_orders = [f"{orders}-0-5@billing", f"{orders}-0-5@mail"]
    assert listed() == sorted([*of_orders, f"{bills}-0-7@billing", "events-0-1"])
    assert listed("--origin", orders) == of_orders
    assert listed("--origin", "events") == ["events-0-1"]
    assert listed("--origin", orders, "--consumer-group", "mail", "--reason", "of mail") == of_orders[1:]
    counts = dlq.here("dlq", "stats", "--by", "origin", "--by", "consumer-group", "--json").rows
    assert {(row["origin"], row["consumer-group"], row["letters"]) for row in counts} == {
        (orders, "billing", 1), (orders, "mail", 1), (bills, "billing", 1), ("events", None, 1),
    }  # fmt: skip
    exported = dlq.here("dlq", "export", "--output", "-", "--origin", bills)
    assert len(exported.output.splitlines()) == 1

    dry_run = dlq.here("dlq", "replay", "--dry-run", "--origin", orders, "--json").rows[0]
    assert (dry_run["selected"], dry_run["not_judged"], dry_run["would_pass"]) == (2, 2, 0)
    assert dry_run["refused"] == {}
    text = dlq.here("dlq", "replay", "--dry-run", "--origin", orders, "--origin", "events").text
    assert "3 selected: 0 would pass now, 1 would not, 0 would be parked\n        2  not judged" in text

    event = b'{"event_id": "e", "payload": {}}'
    dlq.produce(event, b"k", [("source_topic", b"events")])
    text = dlq.here("dlq", "replay", "--dry-run", "--origin", "events").text
    assert "1 would pass now, 1 would not, 0 would be parked\n        1  dated by their failure" in text

    assert dlq.here("dlq", "replay", "--yes", of_orders[1]).exit_code == 0
    (sent,) = dlq.kafka.read(orders)
    assert (sent.timestamp, sent.value) == (1_795_000_000_000, b"no event")
    assert {name for name, _ in sent.headers if not name.startswith("keepstream.")} == set()
    assert listed("--origin", orders) == of_orders[:1]
