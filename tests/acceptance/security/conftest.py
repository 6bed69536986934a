"""The whole system on a broker with TLS, logins and ACLs and a PostgreSQL with TLS and least-privilege roles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType

from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from tests.acceptance.conftest import System
from tests.acceptance.secure import DEPLOY, SCHEMA, Secure, allow, start_secure, table_names
from tests.postgres_versions import DEBIAN_BINARIES
from tests.real import Database, Kafka

TOPIC, GROUP = ResourceType.TOPIC, ResourceType.GROUP
READ, WRITE, DESCRIBE = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE
DELETE = AclOperation.DELETE


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    from keepstream.app.embedded import EmbeddedUnavailableError

    if not DEBIAN_BINARIES:
        pytest.skip("the embedded PostgreSQL is built without TLS, and /usr/lib/postgresql holds none")
    try:
        with start_secure(tmp_path_factory.mktemp("secure")) as started:
            yield started
    except EmbeddedUnavailableError as missing:
        pytest.skip(str(missing))


def acls(system: System) -> dict[str, list[tuple[ResourceType, str, AclOperation]]]:
    """The list of docs/security.md. Nobody may CREATE, nobody has a right on the cluster."""
    parking = f"{system.dlq_topic}-parked"
    return {
        "worker": [(TOPIC, system.topic, READ), (GROUP, system.group_id, READ), (TOPIC, system.dlq_topic, WRITE)],
        "operator": [
            (TOPIC, system.topic, READ), (TOPIC, system.topic, WRITE), (GROUP, system.group_id, DESCRIBE),
            (TOPIC, system.dlq_topic, READ), (TOPIC, system.dlq_topic, WRITE), (TOPIC, system.dlq_topic, DELETE),
            (TOPIC, parking, WRITE),
        ],
        "reader": [(TOPIC, system.topic, READ), (TOPIC, system.dlq_topic, READ), (GROUP, system.group_id, DESCRIBE)],
    }  # fmt: skip


@pytest.fixture(scope="module")
def tables_made(secure: Secure, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tables that the owner made, and rights on them, as the documentation says."""
    maker = System(Kafka(secure.kafka.bootstrap_servers), Database(secure.postgres.url, SCHEMA),
                   tmp_path_factory.mktemp("maker"))  # fmt: skip
    maker.cli("db", "migrate", **secure.postgres_as("owner"))
    with secure.connect("owner") as owner:
        owner.execute((DEPLOY / "grants.sql").read_bytes())


@pytest.fixture
def system(secure: Secure, tables_made: None, tmp_path: Path) -> Iterator[System]:
    """Topics with their rights, and empty tables."""
    made = System(Kafka(secure.kafka.bootstrap_servers), Database(secure.postgres.url, SCHEMA), tmp_path)
    made.kafka.create_topic(f"{made.dlq_topic}-parked", config=DEAD_LETTER_TOPIC_CONFIG)
    for role, rights in acls(made).items():
        allow(secure.kafka, role, rights)
    yield made
    made.stop()
    with secure.connect("owner") as owner:
        owner.execute(f"TRUNCATE {', '.join(name for name in table_names(made) if name != 'schema_migrations')}")
