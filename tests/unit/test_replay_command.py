"""What `dlq replay` refuses before it connects to a server."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from keepstream.app.cli.root import root
from keepstream.app.errors import REFUSED, USAGE


def replay(*arguments: str) -> Result:
    return CliRunner().invoke(root, ["dlq", "replay", *arguments])


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (("--dry-run",), "--dry-run"),
        (("--reason", "check_violation"), "--reason"),
        (("--since", "2h"), "--since"),
        (("--limit", "5"), "--limit"),
        (("--include-resolved",), "--include-resolved"),
        (("--set", "payload.amount=7"), "--set"),
        (("--edit",), "--edit"),
        (("--to-topic", "orders"), "--to-topic"),
        (("--rate", "5/s"), "--rate"),
        (("--max-replays", "3"), "--max-replays"),
        (("--same-partition",), "--same-partition"),
        (("events-0-1",), "IDS"),
    ],
)
def test_a_resume_refuses_what_it_would_ignore(given: tuple[str, ...], name: str) -> None:
    done = replay("--resume", "3", "--yes", *given)
    assert done.exit_code == USAGE
    assert f"--resume 3: {name} " in done.stderr


@pytest.mark.parametrize(
    "option",
    ["--since", "--until", "--event-id", "--key", "--step", "--reason", "--verdict", "--sqlstate", "--where",
     "--origin", "--consumer-group",
     "--rate", "--to-topic", "--set"],
)  # fmt: skip
def test_an_empty_option_does_not_select_everything(option: str) -> None:
    done = replay("--yes", option, "")
    assert done.exit_code == USAGE
    assert option in done.stderr


def test_an_empty_id_does_not_select_everything() -> None:
    assert replay("--yes", "").exit_code == USAGE


@pytest.mark.parametrize(
    "command", [["audit", "--deep", "--since"], ["events", "list", "--until"], ["dlq", "purge", "--yes", "--until"]]
)
def test_an_empty_time_is_no_time(command: list[str]) -> None:
    done = CliRunner().invoke(root, [*command, ""])
    assert done.exit_code == USAGE
    assert command[-1] in done.stderr


@pytest.mark.parametrize("topic", ["event-dlq", "event-dlq-parked"])
def test_dead_letters_are_not_sent_to_where_dead_letters_are(topic: str) -> None:
    done = replay("--yes", "--to-topic", topic)
    assert done.exit_code == USAGE
    assert f"--to-topic: {topic}" in done.stderr


def test_off_a_terminal_nothing_is_sent_without_yes() -> None:
    done = replay("--since", "2h")
    assert done.exit_code == REFUSED
    assert "--yes" in done.stderr
