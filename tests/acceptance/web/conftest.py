"""Consoles on a topic of hostile letters, and a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.acceptance.browser import chromium
from tests.acceptance.console import MAY_REPLAY, ConsoleProcess, console
from tests.acceptance.dead_letters import SeededTopic
from tests.acceptance.web.malicious_requests import DIGITS, SECRET, XSS
from tests.real import Kafka, Postgres, Servers


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def shared_dlq(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeededTopic]:
    """Letter 0 is harmless; 1 is hostile in every field; 2 holds a secret; 3 is nested deeply; 4 is large."""
    with Postgres(servers.postgres_url).new_schema() as database:
        dlq = SeededTopic(Kafka(servers.bootstrap_servers), database, tmp_path_factory.mktemp("shared_dlq"))
        dlq.environment = {"KEEPSTREAM_KAFKA__TOPIC": dlq.kafka.new_topic(1)}
        dlq.add(0, value=b'{"event_id":"e-0","payload":{"amount":1}}')
        hostile = XSS.encode()
        ours = ("id", "step", "verdict", "reason", "sqlstate", "event-id", "correlation-id")
        headers = [(f"keepstream.dlq.{name}", f"{name}{XSS}".encode()) for name in ours]
        headers += [
            ("__connect.errors.exception.message", hostile),
            ("__connect.errors.topic", hostile),
            (XSS, hostile),
        ]
        dlq.produce(json.dumps({XSS: XSS}).encode(), hostile, headers)
        secret = json.dumps({"event_id": "e-2", "payload": {"Card": SECRET, "other": [{"card": SECRET}]}})
        repeated = f', "again": {{"card": "{SECRET}"}}, "again": 1}}'  # of which a parser keeps the last value
        dlq.add(2, value=(secret.removesuffix("}") + repeated).encode())
        dlq.add(3, value=b"[" * 300_000)
        dlq.add(4, value=b'{"payload":"' + b"x" * 900_000 + b'"}')
        database.execute(
            "INSERT INTO events VALUES (%s, %s, %s, 'delivered', now(), now(), 0, %s, 'events', 0, 1)",
            XSS, f'{{"n": {DIGITS}, {json.dumps(XSS)}: ""}}', json.dumps({"card": SECRET}), XSS,
        )  # fmt: skip
        database.execute('UPDATE dead_letters SET reason = %s, message = %s WHERE "offset" = 0', XSS, XSS)
        yield dlq


@pytest.fixture(scope="module")
def guarded(shared_dlq: SeededTopic) -> Iterator[ConsoleProcess]:
    """A console with logins that may replay."""
    limit = {"KEEPSTREAM_WEB__LOGIN_FAILURES_PER_MINUTE": "1000", "KEEPSTREAM_WEB__MASK_FIELDS": '["card"]'}
    with console({**shared_dlq.settings(), **MAY_REPLAY, **limit}) as running:
        running.log_in()
        yield running


@pytest.fixture(scope="module")
def open_one(shared_dlq: SeededTopic) -> Iterator[ConsoleProcess]:
    """A console without logins, on loopback."""
    with console(shared_dlq.settings()) as running:
        yield running
