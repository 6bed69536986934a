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
from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from tests.acceptance.dead_letters import SeededTopic, without_postgres

pytestmark = pytest.mark.real

ODD: list[dict[str, Any]] = [
    {"value": b"{}", "key": b"k", "headers": [("a", b"1")]},
    {"value": None, "key": b"tombstone", "headers": []},
    {"value": b"", "key": b"", "headers": [("empty", b""), ("none", None)]},
    {"value": b"\x00\xff\n\r", "key": None, "headers": [("b", b"\xff\x00"), ("a", b"2"), ("b", b"\xff"), ("a", b"2")]},
    {"value": bytes(range(256)) * 2000, "key": bytes(range(256)), "headers": [("\N{SNOWMAN}", b"x"), ("", b"y")]},
    {"value": b"x", "key": b"k", "headers": [(f"h{i % 5}", b"%d" % i) for i in range(300)], "timestamp": 1},
]


def contents(dlq: SeededTopic, topic: str) -> list[tuple[Any, ...]]:
    """Return everything of a topic but the offsets."""
    return [(r.partition, r.timestamp, r.key, r.value, list(r.headers)) for r in dlq.kafka.read(topic)]


def undated(rows: list[tuple[Any, ...]]) -> list[str]:
    """Return rows without when they were written: an import is dated anew, for Kafka's retention counts from there."""
    return sorted(str((partition, *rest)) for partition, _written_at, *rest in rows)


def dated(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return rows as they are imported: another system's have their timestamp in a header."""
    header = "keepstream.dlq.original-timestamp"
    return [(*rest, [(header, b"%d" % rest[1]), *headers]) for *rest, headers in rows]


def offsets(dlq: SeededTopic, partition: int = 0) -> list[int]:
    return [record.offset for record in dlq.kafka.read(dlq.topic) if record.partition == partition]


def test_an_export_comes_back_byte_for_byte(new_dlq: Callable[..., SeededTopic]) -> None:
    dlq = new_dlq(partitions=2)
    for number, odd in enumerate(ODD):
        dlq.produce(**odd, partition=number % 2)
    assert dlq.run("dlq", "export", "--output", "dead.jsonl").exit_code == 0
    other = dlq.kafka.new_topic(2, "event-dlq", DEAD_LETTER_TOPIC_CONFIG)
    answer = dlq.run("dlq", "import", "dead.jsonl", "--json", KEEPSTREAM_KAFKA__DLQ_TOPIC=other)
    assert answer.rows == [{"topic": other, "imported": len(ODD)}]
    assert undated(contents(dlq, other)) == undated(dated(contents(dlq, dlq.topic)))
    assert {DeadLetterRecord(record).original_timestamp for record in dlq.kafka.read(other)} == {1, 1_795_514_400_000}
    assert (dlq.folder / "dead.jsonl").stat().st_mode & 0o777 == 0o600


def test_an_export_goes_through_a_pipe_into_a_topic_with_fewer_partitions(
    new_dlq: Callable[..., SeededTopic],
) -> None:
    dlq = new_dlq(partitions=3)
    for number, odd in enumerate(ODD):
        dlq.produce(**odd, partition=number % 3)
    exported = dlq.run("dlq", "export", "--output", "-", **without_postgres())
    assert (exported.exit_code, exported.errors) == (0, "6 dead letters exported\n")
    other = dlq.kafka.new_topic(1, "event-dlq", DEAD_LETTER_TOPIC_CONFIG)
    assert dlq.pipe(exported.output, "dlq", "import", "-", KEEPSTREAM_KAFKA__DLQ_TOPIC=other).exit_code == 0
    assert [c[2:] for c in contents(dlq, other)] == [c[2:] for c in dated(contents(dlq, dlq.topic))]


def test_selectors_choose_what_is_exported_and_copies_are_kept(dlq: SeededTopic) -> None:
    for number in (1, 2, 2, 3):
        dlq.add(number, state=None)
    assert [row["id"] for row in dlq.run("dlq", "export", "--event-id", "e-2", "--output", "-").rows] == [
        "events-0-2", "events-0-2",
    ]  # fmt: skip
    assert len(dlq.run("dlq", "export", "--limit", "3", "--output", "-").rows) == 3


def test_an_export_never_overwrites(dlq: SeededTopic) -> None:
    dlq.add(1)
    (dlq.folder / "dead.jsonl").write_text("precious")
    answer = dlq.run("dlq", "export", "--output", "dead.jsonl")
    assert answer.exit_code == 5
    answer = dlq.run("dlq", "purge", "--until", "0s", "--export", "dead.jsonl", "--yes")
    assert answer.exit_code == 5
    assert (dlq.folder / "dead.jsonl").read_text() == "precious"
    assert offsets(dlq) == [0]


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
def test_a_line_that_is_no_dead_letter_is_named_and_nothing_is_imported(
    dlq: SeededTopic, change: dict[str, Any] | None, why: str
) -> None:
    dlq.produce(b"1", b"k", [])
    exported = dlq.run("dlq", "export", "--output", "-").output
    fields = json.loads(exported) | (change or {})
    spoilt = json.dumps({n: v for n, v in fields.items() if v is not ...}) if change else "not JSON"
    answer = dlq.pipe(exported + spoilt.encode() + b"\n" + exported, "dlq", "import", "-")
    assert answer.exit_code == 1
    assert why in answer.errors
    assert offsets(dlq) == [0]


def test_purge_deletes_what_died_before_a_time_and_exports_it_first(new_dlq: Callable[..., SeededTopic]) -> None:
    dlq = new_dlq(partitions=2)
    for number in range(10):
        dlq.add(number, partition=number % 2, state="settled" if number == 4 else "open")
    before = contents(dlq, dlq.topic)
    answer = dlq.run("dlq", "purge", "--until", "2026-11-24T12:05:00Z", "--yes", "--json")
    assert answer.rows == [
        {"partition": 0, "removed": 3, "starts_at": 3}, {"partition": 1, "removed": 2, "starts_at": 2},
    ]  # fmt: skip
    assert dlq.ids("--include-resolved") == ["9", "8", "7", "6", "5"]
    assert [dlq.state(number) for number in (0, 3, 4, 5)] == ["discarded", "discarded", "settled", "open"]
    (exported,) = dlq.folder.glob(f"{dlq.topic}-*.jsonl")
    assert dlq.run("dlq", "import", exported.name).exit_code == 0
    assert undated(contents(dlq, dlq.topic)) == undated(before)
    assert [dlq.state(number) for number in (0, 3, 4, 5)] == ["open", "open", "settled", "open"]
    lies = {letter.id: letter.record_id for letter in map(DeadLetterRecord, dlq.kafka.read(dlq.topic))}
    assert dict(dlq.database.rows("SELECT 'events-0-' || \"offset\", place FROM dead_letters")) == lies


def test_purge_stops_at_the_first_dead_letter_that_is_too_young(dlq: SeededTopic) -> None:
    for number in (1, 2, 9, 3):
        dlq.add(number)
    dlq.run("dlq", "purge", "--until", "2026-11-24T12:05:00Z", "--yes")
    assert offsets(dlq) == [2, 3]


def test_purge_deletes_through_an_offset_of_one_partition(new_dlq: Callable[..., SeededTopic]) -> None:
    dlq = new_dlq(partitions=2)
    for number in range(8):
        dlq.add(number, partition=number % 2)
    answer = dlq.run("dlq", "purge", "--to-offset", "2", "--partition", "1", "--export", "dead.jsonl", "--yes")
    assert answer.exit_code == 0, answer.errors
    assert (offsets(dlq, 0), offsets(dlq, 1)) == ([0, 1, 2, 3], [2, 3])
    lines = (dlq.folder / "dead.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["events-0-1", "events-0-3"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--until"),
        (["--until", "1h", "--to-offset", "3"], "--until"),
        (["--until", "soon"], "--until"),
        (["--to-offset", "1"], "--partition"),
        (["--to-offset", "5", "--partition", "0"], "--to-offset"),
        (["--to-offset", "0", "--partition", "7"], "--partition"),
    ],
)
def test_a_purge_that_is_not_clear_is_refused(
    new_dlq: Callable[..., SeededTopic], arguments: list[str], named: str
) -> None:
    dlq = new_dlq(partitions=2)
    dlq.add(1)
    answer = dlq.run("dlq", "purge", "--yes", *arguments)
    assert answer.exit_code == 2
    assert named in answer.errors
    assert offsets(dlq) == [0]
    assert not [*dlq.folder.glob("*.jsonl")]


def test_off_a_terminal_nothing_is_deleted_without_yes(dlq: SeededTopic) -> None:
    dlq.add(1)
    answer = dlq.pipe(dlq.topic.encode() + b"\n", "dlq", "purge", "--until", "0s")
    assert (answer.exit_code, offsets(dlq)) == (5, [0])
    assert not [*dlq.folder.glob("*.jsonl")]


def test_where_there_is_nothing_to_delete_nothing_is_left_behind(dlq: SeededTopic) -> None:
    dlq.add(1)
    answer = dlq.run("dlq", "purge", "--until", "2026-11-24T12:00:00Z", "--yes")
    assert (answer.exit_code, offsets(dlq)) == (0, [0])
    assert not [*dlq.folder.glob("*.jsonl")]


@pytest.mark.parametrize(("typed", "exit_code", "left"), [("{topic}", 0, []), ("yes", 5, [0]), ("", 5, [0])])
def test_on_a_terminal_the_topics_name_has_to_be_typed(
    dlq: SeededTopic, typed: str, exit_code: int, left: list[int]
) -> None:
    dlq.add(1)
    ours, theirs = pty.openpty()
    argv = dlq.argv("dlq", "purge", "--until", "0s", "--export", "dead.jsonl")
    environment = {**os.environ, **dlq.settings()}
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=dlq.folder) as shell:
        os.close(theirs)
        said = read_until(ours, b"dead letters: ")
        assert b"Type " + dlq.topic.encode() in said
        os.write(ours, typed.format(topic=dlq.topic).encode() + b"\n")
        read_until(ours, b"deleted")
        assert shell.wait(30) == exit_code
    os.close(ours)
    assert offsets(dlq) == left
    assert (dlq.folder / "dead.jsonl").exists()


def read_until(terminal: int, wanted: bytes) -> bytes:
    said = b""
    while wanted not in said:
        assert select.select([terminal], [], [], 30)[0], said
        said += os.read(terminal, 4096)
    return said
