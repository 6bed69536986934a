"""What `keepstream doctor` says when something about TLS or a login is wrong."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import System
from tests.acceptance.secure import CANARY, Secure
from tests.certificates import Authority, Identity

pytestmark = [pytest.mark.real, pytest.mark.long]


# What is wrong -> what doctor says.
WRONG_KAFKA = {
    "authority": "the server's certificate is refused: unable to get local issuer certificate",
    "password": "the brokers refuse the login (SCRAM-SHA-512)",
    "user": "the brokers refuse the login (SCRAM-SHA-512)",
    "no TLS": "does not use",
    "no certificate": "requires a client certificate",
}


@pytest.mark.parametrize("wrong", WRONG_KAFKA)
def test_doctor_names_what_is_wrong_with_kafka(secure: Secure, system: System, tmp_path: Path, wrong: str) -> None:
    kafka = secure.kafka_as("worker")
    prefix = "KEEPSTREAM_KAFKA__SECURITY__"
    if wrong == "authority":
        kafka[f"{prefix}CA_FILE"] = str(other_authority(tmp_path))
    elif wrong == "password":
        kafka[f"{prefix}PASSWORD"] = f"{CANARY}-wrong"
    elif wrong == "user":
        kafka[f"{prefix}USERNAME"] = "nobody"
    elif wrong == "no TLS":
        kafka = {"KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": secure.tls}
    else:
        kafka = secure.kafka_by_certificate("worker")
        del kafka[f"{prefix}CERTIFICATE_FILE"], kafka[f"{prefix}KEY_FILE"]
    done = system.cli("doctor", "--json", exit_code=1, **secure.postgres_as("worker"), **kafka)
    finding = next(line for line in map(json.loads, done.stdout.splitlines()) if line["check"] == "kafka")
    assert finding["state"] == "fail"
    assert WRONG_KAFKA[wrong] in finding["seen"]
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({"expired": True}, "certificate has expired"),
        ({"sans": "DNS:elsewhere.example"}, "IP address mismatch"),
    ],
)
def test_doctor_names_a_brokers_bad_certificate(
    secure: Secure, system: System, certificate: dict[str, Any], words: str
) -> None:
    own = secure.authority.issue(f"bad-{len(words)}", **certificate)
    with tls_server(own) as port:
        kafka = secure.kafka_as("worker") | {"KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"}
        done = system.cli("doctor", "--json", exit_code=1, **secure.postgres_as("worker"), **kafka)
    assert words in done.stdout


WRONG_POSTGRES = {
    "authority": "certificate is refused: self-signed certificate in certificate chain",
    "password": "the password was refused",
    "certificate": "certificate",
    "expired": "certificate is refused: certificate has expired",
}


@pytest.mark.parametrize("wrong", WRONG_POSTGRES)
def test_doctor_names_what_is_wrong_with_postgres(secure: Secure, system: System, tmp_path: Path, wrong: str) -> None:
    url = secure.url("worker")
    if wrong == "authority":
        url = secure.url("worker", authority=other_authority(tmp_path))
    elif wrong == "password":
        url = secure.url("worker", password=f"{CANARY}-wrong")
    elif wrong == "certificate":
        url = secure.url("operator").partition("&sslcert")[0]
    else:
        secure.present(secure.authority.issue("old", expired=True))
    try:
        done = system.cli("doctor", "--json", exit_code=1, **secure.kafka_as("worker"), KEEPSTREAM_POSTGRES__URL=url)
    finally:
        secure.present(secure.server)
    finding = next(line for line in map(json.loads, done.stdout.splitlines()) if line["check"] == "postgres")
    assert WRONG_POSTGRES[wrong] in finding["seen"]
    assert CANARY not in done.stdout + done.stderr


def other_authority(folder: Path) -> Path:
    (folder / "other").mkdir()
    return Authority(folder / "other", "another authority").certificate


@contextmanager
def tls_server(own: Identity) -> Iterator[int]:
    """Shake hands with everybody, and say nothing more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_shake_hands, args=(listener, context), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client, suppress(OSError), context.wrap_socket(client, server_side=True) as spoken:
            spoken.recv(1)
