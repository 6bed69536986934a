"""Kafka answers, and says no: to dead letters, to the group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from tests.acceptance.conftest import System
from tests.faults import admin
from tests.faults.produced_ledger import LedgerProducer, close, reckon, settled, wait_s, warmed_up
from tests.faults.report import Row
from tests.real import eventually

pytestmark = pytest.mark.real

EVERYBODY = "User:*"


@contextmanager
def denied(system: System, kind: ResourceType, name: str, operation: AclOperation) -> Iterator[None]:
    """Forbid everybody one operation on a resource, and forget it again."""
    client = admin.admin(system.kafka)
    terms = (kind, name, ResourcePatternType.LITERAL, EVERYBODY, "*", operation, AclPermissionType.DENY)
    rule, same = AclBinding(*terms), AclBindingFilter(*terms)
    client.create_acls([rule])[rule].result(admin.ANSWER_S)
    try:
        yield
    finally:
        for done in client.delete_acls([same]).values():
            done.result(admin.ANSWER_S)


def test_a_dead_letter_topic_that_refuses_holds_the_partition(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    refuses = row("dead letter topic read-only by an ACL")
    system = new_system(KEEPSTREAM_KAFKA__DLQ_TIMEOUT_S="2")
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    with refuses.active(), denied(system, ResourceType.TOPIC, system.dlq_topic, AclOperation.WRITE):
        wait_s(0.5)  # ACLs take effect asynchronously
        producer.send(100)
        eventually(lambda: worker.get("/readyz")[0] == 503, 30, "readiness turns false")
        wait_s(2)
        assert settled(system) < 300
    refuses.recovers(lambda: settled(system) == 300, 60)
    close(refuses, system, producer, worker)


@pytest.mark.long
def test_a_group_that_refuses_us_costs_no_event(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    refused = row("the group forbidden by an ACL: no heartbeat, no commit")
    system = new_system()
    producer = new_producer(system)
    worker = warmed_up(system, producer)
    with refused.active(), denied(system, ResourceType.GROUP, system.group_id, AclOperation.READ):
        producer.send(500)
        wait_s(8)
    if worker.process.exit_code is not None:
        assert worker.process.exit_code == 70
        system.start_worker()
    producer.send(500)
    refused.recovers(lambda: settled(system) == 1200, 60)
    found = reckon(system, producer)
    system.assert_consistent()
    assert system.database.totals()["duplicate"] == 0
    refused.closes(found)


def test_a_group_that_refuses_the_first_join_is_joined_once_it_allows_it(
    new_system: Callable[..., System], new_producer: Callable[..., LedgerProducer], row: Callable[[str], Row]
) -> None:
    refused = row("the group forbidden by an ACL before the worker starts")
    system = new_system()
    producer = new_producer(system)
    with refused.active(), denied(system, ResourceType.GROUP, system.group_id, AclOperation.READ):
        wait_s(0.5)  # ACLs take effect asynchronously
        producer.send(100)
        worker = system.start_worker()
        eventually(lambda: "right to READ the group" in worker.get("/readyz")[1], 60, "/readyz has the reason")
        assert settled(system) == 0
    refused.recovers(lambda: settled(system) == 100, 60)
    eventually(lambda: worker.get("/readyz")[0] == 200, 20, "the worker is ready")
    close(refused, system, producer, worker)
