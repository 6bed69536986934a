"""Credentials that change while a worker runs: tokens that expire, passwords that are rotated."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import System, Worker
from tests.acceptance.secure import CANARY, Secure, set_scram_password
from tests.acceptance.security.token_endpoint import TokenEndpointServer
from tests.builders import make_value
from tests.real import eventually

pytestmark = [pytest.mark.real, pytest.mark.long]

LIFETIME_S = 6.0
"""Of a token. The broker ends a session whose token has expired (`connections.max.reauth.ms`)."""


@pytest.fixture
def endpoint() -> Iterator[TokenEndpointServer]:
    server = TokenEndpointServer("worker", f"{CANARY}:&%{secrets.token_hex(4)}", LIFETIME_S)
    yield server
    server.close()


def by_token(secure: Secure, endpoint: TokenEndpointServer, client_secret: Path) -> dict[str, str]:
    kafka = secure.kafka_as(
        "worker", "OAUTHBEARER", oauth_token_endpoint=endpoint.url, oauth_client_id=endpoint.client,
        oauth_client_secret_file=str(client_secret), oauth_scope="kafka",
    )  # fmt: skip
    return {name: value for name, value in kafka.items() if not name.endswith(("__USERNAME", "__PASSWORD"))}


def said_nowhere(worker: Worker, *words: str) -> None:
    log = worker.process.log_path.read_text()
    assert len(log) > 100
    assert [word for word in (CANARY, *words) if word in log] == []


def test_tokens_of_an_endpoint_are_renewed_for_both_clients(
    secure: Secure, system: System, endpoint: TokenEndpointServer, tmp_path: Path
) -> None:
    """Records and dead letters go on through several lifetimes, in which the broker ends each session."""
    (tmp_path / "secret").write_text(endpoint.client_secret + "\n")
    worker = system.start_worker(
        **secure.postgres_as("worker"), **by_token(secure, endpoint, tmp_path / "secret"),
        KEEPSTREAM_LOG__LEVEL="debug",
    )  # fmt: skip
    produced, until = 0, time.monotonic() + 4 * LIFETIME_S
    while time.monotonic() < until:
        system.produce([make_value(), b"broken"])
        produced += 2
        system.settled(produced)
    assert len(system.dead()) == produced // 2
    assert len(endpoint.given) > 4
    assert endpoint.scopes == {"kafka"}
    system.assert_consistent()
    assert worker.process.stop() == 0
    said_nowhere(worker, *endpoint.given)


def test_a_refused_client_secret_is_named_and_waited_for(
    secure: Secure, system: System, endpoint: TokenEndpointServer, tmp_path: Path
) -> None:
    """Once the file holds the right one the worker goes on by itself, without a restart."""
    file = tmp_path / "secret"
    file.write_text(f"{CANARY}-wrong")
    token = by_token(secure, endpoint, file)
    doctor = system.cli("doctor", "--json", exit_code=1, **secure.postgres_as("worker"), **token)
    assert "answered 401: is the client secret right?" in doctor.stdout + doctor.stderr
    worker = system.start_worker(**secure.postgres_as("worker"), **token)
    eventually(lambda: any("answered 401" in line["event"] for line in worker.log()), 30, "it says why")
    file.write_text(endpoint.client_secret)
    system.produce([make_value(), b"broken"])
    system.settled(2)
    assert worker.process.stop() == 0
    assert CANARY not in doctor.stdout + doctor.stderr
    said_nowhere(worker)


def test_an_endpoint_that_is_away_is_waited_for(
    secure: Secure, system: System, endpoint: TokenEndpointServer, tmp_path: Path
) -> None:
    """A first dead letter needs a login while none is to be had: the partition waits, the worker lives."""
    (tmp_path / "secret").write_text(endpoint.client_secret)
    worker = system.start_worker(**secure.postgres_as("worker"), **by_token(secure, endpoint, tmp_path / "secret"))
    system.produce([make_value()])
    system.settled(1)
    endpoint.away = True
    system.produce([b"broken", make_value()])
    eventually(lambda: "Kafka: " in worker.get("/readyz")[1], 60, "its sessions have ended with their tokens")
    assert worker.process.exit_code is None
    endpoint.away = False
    system.settled(3)
    assert len(system.dead()) == 1
    system.assert_consistent()
    assert worker.process.stop() == 0
    said_nowhere(worker)


def test_a_rotated_kafka_password_takes_a_restart_and_loses_nothing(
    secure: Secure, system: System, tmp_path: Path
) -> None:
    """The running worker goes on with the connections it has; the next one reads the file anew."""
    file = tmp_path / "password"
    file.write_text(secure.passwords["worker"])
    kafka = {
        name: value for name, value in secure.kafka_as("worker", password_file=str(file)).items()
        if not name.endswith("__PASSWORD")
    }  # fmt: skip
    elder = system.start_worker(**secure.postgres_as("worker"), **kafka)
    system.produce([make_value(), b"broken"])
    system.settled(2)
    try:
        set_scram_password(secure.kafka, "worker", f"{CANARY}-rotated")
        file.write_text(f"{CANARY}-rotated")
        system.produce([make_value(), b"broken"])
        system.settled(4)
        assert elder.process.stop() == 0
        younger = system.start_worker(**secure.postgres_as("worker"), **kafka)
        system.produce([make_value(), b"broken"])
        system.settled(6)
        system.assert_consistent()
        assert younger.process.stop() == 0
        said_nowhere(elder)
        said_nowhere(younger)
    finally:
        set_scram_password(secure.kafka, "worker", secure.passwords["worker"])
