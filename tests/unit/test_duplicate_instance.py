"""When a lost member id is an accident, when somebody else has our name, and what our name is."""

from __future__ import annotations

from keepstream.app.worker.membership import LIMIT, WITHIN_S, DuplicateInstanceDetector, static_member_name


def told(namesake: DuplicateInstanceDetector, ids: list[str], *, every_s: float = 1) -> list[str | None]:
    return [namesake.check(one, number * every_s) for number, one in enumerate(ids)]


def test_the_fifth_lost_member_id_within_a_minute_is_a_namesake() -> None:
    *before, last = told(DuplicateInstanceDetector("same"), [""] * LIMIT)
    assert before == [None] * (LIMIT - 1)
    assert last is not None
    assert "group_instance_id 'same'" in last


def test_rebalances_that_leave_us_our_id_do_not_count() -> None:
    assert told(DuplicateInstanceDetector("same"), ["id"] * 20) == [None] * 20


def test_ids_lost_now_and_then_are_accidents() -> None:
    assert told(DuplicateInstanceDetector("same"), [""] * LIMIT * 3, every_s=WITHIN_S / 3) == [None] * LIMIT * 3


def test_a_member_without_a_name_has_no_namesake() -> None:
    assert told(DuplicateInstanceDetector(None), [""] * 20) == [None] * 20


def test_a_static_member_of_other_topics_is_another_member() -> None:
    """Kafka gives a member that comes back what it had, although it does not subscribe to it any more."""
    name = static_member_name("a", ["orders", "payments"])
    assert name == static_member_name("a", ["payments", "orders"])
    assert len({name, static_member_name("a", ["orders"]), static_member_name("b", ["orders", "payments"])}) == 3
    assert static_member_name("a", []) == "a"
    assert static_member_name(None, ["orders"]) is None
