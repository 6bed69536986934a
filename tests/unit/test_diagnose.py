"""Why a server cannot be reached: what it says is explained, and its text is never quoted."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError
from pydantic import SecretStr

from keepstream.app.config.base import port_of
from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.config.postgres import PostgresSettings, addresses
from keepstream.app.connect.diagnose import NO_BROKER, NO_SERVER, LastKafkaError, explain_postgres_error

SAID = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: FATAL:  '


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("sorry, too many clients already", "all connections of the server are in use"),
        ("remaining connection slots are reserved for roles with the SUPERUSER attribute", "but those for superusers"),
        ("remaining connection slots are reserved for non-replication superuser connections", "but those for"),
        ('too many connections for role "app"', "the role has all the connections"),
        ('too many connections for database "d"', "the database has all the connections"),
        ('role "app" does not exist', "there is no such role"),
        ('database "starting up" does not exist', "there is no such database"),
        ('Peer authentication failed for user "app"', "the login was refused"),
        ("the database system is starting up", "starting up"),
        ("the database system is shutting down", "shutting down"),
        ("the database system is in recovery mode", "recovering from a crash"),
        ("the database system is not yet accepting connections\nDETAIL:  Consistent recovery", "is in recovery"),
        ("the database system is not accepting connections\nDETAIL:  Hot standby mode is disabled.", "is in recovery"),
        ('database "d" is not currently accepting connections', "the database allows no connections"),
        ('permission denied for database "d"', "may not connect to the database"),
        ("terminating connection due to administrator command", "the server ended the connection"),
        ("unsupported startup parameter: geqo", "the pooler there refuses the startup parameter geqo"),
        ("unsupported startup parameter in options: search_path", "refuses the startup parameter search_path"),
        ("no such database: d", "there is no such database"),
        ("no more connections allowed (max_client_conn)", "the pooler there has all the clients"),
        ("query_wait_timeout", "the pooler there had no connection to PostgreSQL free"),
        ("pgbouncer cannot connect to server", "the pooler there answers, and its PostgreSQL does not"),
        ("Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?", NO_SERVER),
    ],
)
def test_what_postgres_says_of_a_failed_connection_is_explained(text: str, meaning: str) -> None:
    explained, hint = explain_postgres_error(SAID + text, PostgresSettings())
    assert meaning in explained
    assert hint


def test_a_broker_without_a_port_is_looked_for_at_kafkas_own() -> None:
    settings = KafkaSettings(bootstrap_servers="kafka.invalid")
    assert LastKafkaError(settings).explain() == NO_BROKER
    assert port_of("kafka.invalid") == 9092


def test_a_host_name_that_is_unknown_is_said() -> None:
    text = "failed to resolve host 'db.invalid': [Errno -2] Name or service not known"
    assert explain_postgres_error(text, PostgresSettings())[0] == "its host name is unknown"


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://u:s3cret@db:6432/d", "db:6432"),
        ("postgresql://u:s3cret@a,b/d", "a:5432, b:5432"),
        ("postgresql://u:s3cret@a:1,b:2/d", "a:1, b:2"),
        ("postgresql://u:s3@cret@db/d", "the server of the URL"),
        ("postgresql://u:3/cret@db/d", "the server of the URL"),
        ("host=/run/postgresql dbname=d", "/run/postgresql:5432"),
    ],
)
def test_a_server_is_named_without_the_password(url: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPORT", raising=False)
    settings = PostgresSettings(url=SecretStr(url), allow_insecure_credentials=True)
    assert addresses(settings) == named


@pytest.mark.parametrize(
    ("text", "advertised"),
    [
        ("kafka-2.example:9092/2: Connect to ipv4#10.0.0.2:9092 failed: Connection refused", ("kafka-2.example", 9092)),
        ("sasl_ssl://kafka-2.example:9093/2: Failed to resolve", ("kafka-2.example", 9093)),
        ("[::1]:9092/2: Connect to ipv6#[::1]:9092 failed: Connection refused", ("::1", 9092)),
        ("kafka-1.example:9092/bootstrap: Connect to ipv4#10.0.0.1:9092 failed: Connection refused", None),
        ("3/3 brokers are down", None),
    ],
)
def test_the_advertised_address_that_an_error_is_about_is_kept(text: str, advertised: tuple[str, int] | None) -> None:
    last = LastKafkaError(KafkaSettings())
    last(KafkaError(KafkaError._TRANSPORT, text))
    assert last.advertised == ({2: advertised} if advertised else {})
