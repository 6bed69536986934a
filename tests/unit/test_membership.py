"""How long a worker may be no member of its group."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiokafka.errors import InconsistentGroupProtocolError, UnknownError

from keepstream.app.worker.membership import MembershipMonitor, explain_refusal

LIMIT = 20


@dataclass
class Group:
    """A group that refuses the worker while ``error`` is set."""

    error: str | None = "refused"
    answers: bool = True
    reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.monitor = MembershipMonitor(
            "shop", LIMIT, lambda: self.error, lambda: self.answers, on_lost=self.reasons.append
        )

    def beats(self, count: int) -> bool:
        """Let so many seconds pass; True when the worker was ended."""
        for _ in range(count):
            self.monitor.beat()
        return bool(self.reasons)


def test_a_worker_that_is_no_member_for_too_long_ends_with_the_reason() -> None:
    group = Group()
    assert not group.beats(LIMIT - 1)
    assert group.beats(1)
    assert group.reasons == ["not a member of the group shop for 20 s while Kafka answers: refused"]


def test_a_member_is_left_alone_and_starts_the_time_anew() -> None:
    group = Group()
    group.beats(LIMIT - 1)
    group.error = None
    assert not group.beats(10 * LIMIT)
    group.error = "refused"
    assert not group.beats(LIMIT - 1)


def test_an_outage_of_kafka_does_not_count() -> None:
    group = Group(answers=False)
    assert not group.beats(10 * LIMIT)
    group.answers = True
    assert not group.beats(LIMIT - 1)


def test_a_known_refusal_says_what_to_do_and_another_keeps_its_text() -> None:
    assert "partition.assignment.strategy" in explain_refusal(InconsistentGroupProtocolError())
    assert explain_refusal(UnknownError("odd")).startswith("UnknownError: ")
