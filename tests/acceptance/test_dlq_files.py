"""`keepstream dlq export`, `import` and `purge` as processes: nothing is deleted that is not safe on the disk."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from keepstream.schemas.dead_letter_record import DeadLetterRecord
from tests.acceptance.dead_letters import Graveyard, without_postgres

pytestmark = pytest.mark.real

ODD: list[dict[str, Any]] = [
    {"value": b"{}", "key": b"k", "headers": [("a", b"1")]},
    {"value": None, "key": b"tombstone", "headers": []},
    {"value": b"", "key": b"", "headers": [("empty", b""), ("none", None)]},
    {"value": b"\x00\xff\n\r", "key": None, "headers": [("b", b"\xff\x00"), ("a", b"2"), ("b", b"\xff"), ("a", b"2")]},
    {"value": bytes(range(256)) * 2000, "key": bytes(range(256)), "headers": [("\N{SNOWMAN}", b"x"), ("", b"y")]},
    {"value": b"x", "key": b"k", "headers": [(f"h{i % 5}", b"%d" % i) for i in range(300)], "timestamp": 1},
]


def contents(yard: Graveyard, topic: str) -> list[tuple[Any, ...]]:
    """Return everything of a topic but the offsets."""
    return [(r.partition, r.timestamp, r.key, r.value, list(r.headers)) for r in yard.kafka.read(topic)]


def undated(rows: list[tuple[Any, ...]]) -> list[str]:
    """Return rows without when they were written: an import is dated anew, for Kafka's retention counts from there."""
    return sorted(str((partition, *rest)) for partition, _written_at, *rest in rows)


def offsets(yard: Graveyard, partition: int = 0) -> list[int]:
    return [record.offset for record in yard.kafka.read(yard.topic) if record.partition == partition]


def test_an_export_comes_back_byte_for_byte(new_yard: Callable[..., Graveyard]) -> None:
    yard = new_yard(partitions=2)
    for number, odd in enumerate(ODD):
        yard.produce(**odd, partition=number % 2)
    assert yard.run("dlq", "export", "--output", "dead.jsonl").exit_code == 0
    other = yard.kafka.new_topic(2, "event-dlq")
    answer = yard.run("dlq", "import", "dead.jsonl", "--json", KEEPSTREAM_KAFKA__DLQ_TOPIC=other)
    assert answer.rows == [{"topic": other, "imported": len(ODD)}]
    assert contents(yard, other) == contents(yard, yard.topic)
    assert (yard.folder / "dead.jsonl").stat().st_mode & 0o777 == 0o600


def test_an_export_goes_through_a_pipe_into_a_topic_with_fewer_partitions(new_yard: Callable[..., Graveyard]) -> None:
    yard = new_yard(partitions=3)
    for number, odd in enumerate(ODD):
        yard.produce(**odd, partition=number % 3)
    exported = yard.run("dlq", "export", "--output", "-", **without_postgres())
    assert (exported.exit_code, exported.errors) == (0, "6 dead letters exported\n")
    other = yard.kafka.new_topic(1, "event-dlq")
    assert yard.pipe(exported.output, "dlq", "import", "-", KEEPSTREAM_KAFKA__DLQ_TOPIC=other).exit_code == 0
    assert [c[1:] for c in contents(yard, other)] == [c[1:] for c in contents(yard, yard.topic)]


def test_selectors_choose_what_is_exported_and_copies_are_kept(yard: Graveyard) -> None:
    for number in (1, 2, 2, 3):
        yard.bury(number, state=None)
    assert [row["id"] for row in yard.run("dlq", "export", "--event-id", "e-2", "--output", "-").rows] == [
        "events-0-2", "events-0-2",
    ]  # fmt: skip
    assert len(yard.run("dlq", "export", "--limit", "3", "--output", "-").rows) == 3


def test_an_export_never_overwrites(yard: Graveyard) -> None:
    yard.bury(1)
    (yard.folder / "dead.jsonl").write_text("precious")
    answer = yard.run("dlq", "export", "--output", "dead.jsonl")
    assert answer.exit_code == 5
    answer = yard.run("dlq", "purge", "--before", "0s", "--export", "dead.jsonl", "--yes")
    assert answer.exit_code == 5
    assert (yard.folder / "dead.jsonl").read_text() == "precious"
    assert offsets(yard) == [0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"key": "no base64!"}, "line 2: "),
        ({"key": 7}, "line 2: "),
        ({"offset": "7"}, "line 2: offset is not an integer"),
        ({"headers": [[1, None]]}, "line 2: a header's name is not a string"),
        ({"headers": None}, "line 2: "),
        ({"value": ...}, "line 2: value is absent"),
        (None, "line 2: "),
    ],
)
def test_a_line_that_is_no_letter_is_named_and_nothing_is_imported(
    yard: Graveyard, change: dict[str, Any] | None, why: str
) -> None:
    yard.produce(b"1", b"k", [])
    exported = yard.run("dlq", "export", "--output", "-").output
    fields = json.loads(exported) | (change or {})
    spoilt = json.dumps({n: v for n, v in fields.items() if v is not ...}) if change else "not JSON"
    answer = yard.pipe(exported + spoilt.encode() + b"\n" + exported, "dlq", "import", "-")
    assert answer.exit_code == 1
    assert why in answer.errors
    assert offsets(yard) == [0]


def test_purge_deletes_what_died_before_a_time_and_exports_it_first(new_yard: Callable[..., Graveyard]) -> None:
    yard = new_yard(partitions=2)
    for number in range(10):
        yard.bury(number, partition=number % 2, state="settled" if number == 4 else "open")
    before = contents(yard, yard.topic)
    answer = yard.run("dlq", "purge", "--before", "2026-11-24T12:05:00Z", "--yes", "--json")
    assert answer.rows == [
        {"partition": 0, "removed": 3, "starts_at": 3}, {"partition": 1, "removed": 2, "starts_at": 2},
    ]  # fmt: skip
    assert yard.ids("--all") == ["9", "8", "7", "6", "5"]
    assert [yard.state(number) for number in (0, 3, 4, 5)] == ["discarded", "discarded", "settled", "open"]
    (exported,) = yard.folder.glob(f"{yard.topic}-*.jsonl")
    assert yard.run("dlq", "import", exported.name).exit_code == 0
    assert undated(contents(yard, yard.topic)) == undated(before)
    assert [yard.state(number) for number in (0, 3, 4, 5)] == ["open", "open", "settled", "open"]
    lies = {letter.id: letter.record_id for letter in map(DeadLetterRecord, yard.kafka.read(yard.topic))}
    assert dict(yard.database.rows("SELECT 'events-0-' || \"offset\", place FROM dead_letters")) == lies


def test_purge_stops_at_the_first_letter_that_is_too_young(yard: Graveyard) -> None:
    for number in (1, 2, 9, 3):
        yard.bury(number)
    yard.run("dlq", "purge", "--before", "2026-11-24T12:05:00Z", "--yes")
    assert offsets(yard) == [2, 3]


def test_purge_deletes_through_an_offset_of_one_partition(new_yard: Callable[..., Graveyard]) -> None:
    yard = new_yard(partitions=2)
    for number in range(8):
        yard.bury(number, partition=number % 2)
    answer = yard.run("dlq", "purge", "--through", "1", "--partition", "1", "--export", "dead.jsonl", "--yes")
    assert answer.exit_code == 0, answer.errors
    assert (offsets(yard, 0), offsets(yard, 1)) == ([0, 1, 2, 3], [2, 3])
    lines = (yard.folder / "dead.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["events-0-1", "events-0-3"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--before"),
        (["--before", "1h", "--through", "3"], "--before"),
        (["--before", "soon"], "--before"),
        (["--through", "1"], "--partition"),
        (["--through", "4", "--partition", "0"], "--through"),
        (["--through", "0", "--partition", "7"], "--partition"),
    ],
)
def test_a_purge_that_is_not_clear_is_refused(
    new_yard: Callable[..., Graveyard], arguments: list[str], named: str
) -> None:
    yard = new_yard(partitions=2)
    yard.bury(1)
    answer = yard.run("dlq", "purge", "--yes", *arguments)
    assert answer.exit_code == 2
    assert named in answer.errors
    assert offsets(yard) == [0]
    assert not [*yard.folder.glob("*.jsonl")]


def test_off_a_terminal_nothing_is_deleted_without_yes(yard: Graveyard) -> None:
    yard.bury(1)
    answer = yard.pipe(yard.topic.encode() + b"\n", "dlq", "purge", "--before", "0s")
    assert (answer.exit_code, offsets(yard)) == (5, [0])
    assert not [*yard.folder.glob("*.jsonl")]


def test_where_there_is_nothing_to_delete_nothing_is_left_behind(yard: Graveyard) -> None:
    yard.bury(1)
    answer = yard.run("dlq", "purge", "--before", "2026-11-24T12:00:00Z", "--yes")
    assert (answer.exit_code, offsets(yard)) == (0, [0])
    assert not [*yard.folder.glob("*.jsonl")]


@pytest.mark.parametrize(("typed", "exit_code", "left"), [("{topic}", 0, []), ("yes", 5, [0]), ("", 5, [0])])
def test_on_a_terminal_the_topics_name_has_to_be_typed(
    yard: Graveyard, typed: str, exit_code: int, left: list[int]
) -> None:
    yard.bury(1)
    ours, theirs = pty.openpty()
    argv = yard.argv("dlq", "purge", "--before", "0s", "--export", "dead.jsonl")
    environment = {**os.environ, **yard.settings()}
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=yard.folder) as shell:
        os.close(theirs)
        said = read_until(ours, b"dead letters: ")
        assert b"Type " + yard.topic.encode() in said
        os.write(ours, typed.format(topic=yard.topic).encode() + b"\n")
        read_until(ours, b"deleted")
        assert shell.wait(30) == exit_code
    os.close(ours)
    assert offsets(yard) == left
    assert (yard.folder / "dead.jsonl").exists()


def read_until(terminal: int, wanted: bytes) -> bytes:
    said = b""
    while wanted not in said:
        assert select.select([terminal], [], [], 30)[0], said
        said += os.read(terminal, 4096)
    return said
