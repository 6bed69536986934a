"""One setting for Kafka's security, and what either client library is told; which passwords may travel."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from keepstream.app.config.kafka import KafkaSecuritySettings, KafkaSettings
from keepstream.app.config.settings import Settings
from keepstream.app.connect.client_config import aiokafka_security, librdkafka_security, librdkafka_settings
from keepstream.app.connect.oauth import AiokafkaTokens, TokenError, TokenFile, expiry_of
from keepstream.app.telemetry.logging import secrets_of
from keepstream.sinks.kafka.dead_letters import PRODUCER_SETTINGS, KafkaDeadLetterQueue
from keepstream.sinks.kafka.replay_producer import _SETTINGS as REPLAY_SETTINGS
from tests.certificates import Authority, unsigned_jwt

CANARY = "c4nary-secret"
FILES = ("secret", "token", "ca", "cert", "key", "encrypted")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Real certificates and keys, and secrets in files, with the line break that editors leave."""
    authority = Authority(tmp_path_factory.mktemp("ca"))
    client = authority.issue("client", key_password=CANARY)
    plain = authority.issue("plain")
    (authority.folder / "secret").write_text(f"{CANARY}\n")
    (authority.folder / "token").write_text(unsigned_jwt("worker", 600) + "\n")
    return {
        "secret": str(authority.folder / "secret"), "token": str(authority.folder / "token"),
        "ca": str(authority.certificate), "cert": str(plain.certificate), "key": str(plain.key),
        "encrypted cert": str(client.certificate), "encrypted key": str(client.key),
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable, no .env and no password file of the machine's."""
    import os

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith(("KEEPSTREAM_", "PG"))]:
        monkeypatch.delenv(name)


VERIFIES = {"enable.ssl.certificate.verification": True, "ssl.endpoint.identification.algorithm": "https"}
SCRAM = {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "username": "u"}
# What is set -> what librdkafka is told, what aiokafka is told (its TLS context apart). "<x>" is the file x.
TABLE: dict[str, tuple[dict[str, str], dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {"security.protocol": "PLAINTEXT"}, {"security_protocol": "PLAINTEXT"}),
    "TLS": (
        {"protocol": "SSL", "ca_file": "<ca>"},
        {"security.protocol": "SSL", "ssl.ca.location": "<ca>", **VERIFIES},
        {"security_protocol": "SSL"},
    ),
    "mutual TLS": (
        {"protocol": "SSL", "ca_file": "<ca>", "certificate_file": "<encrypted cert>", "key_file": "<encrypted key>",
         "key_password": CANARY},
        {"security.protocol": "SSL", "ssl.ca.location": "<ca>", "ssl.certificate.location": "<encrypted cert>",
         "ssl.key.location": "<encrypted key>", "ssl.key.password": CANARY, **VERIFIES},
        {"security_protocol": "SSL"},
    ),
    "mutual TLS, key password in a file": (
        {"protocol": "SSL", "certificate_file": "<encrypted cert>", "key_file": "<encrypted key>",
         "key_password_file": "<secret>"},
        {"security.protocol": "SSL", "ssl.certificate.location": "<encrypted cert>",
         "ssl.key.location": "<encrypted key>", "ssl.key.password": CANARY, **VERIFIES},
        {"security_protocol": "SSL"},
    ),
    "SCRAM": (
        {**SCRAM, "ca_file": "<ca>", "password": CANARY},
        {"security.protocol": "SASL_SSL", "ssl.ca.location": "<ca>", "sasl.mechanism": "SCRAM-SHA-512",
         "sasl.username": "u", "sasl.password": CANARY, **VERIFIES},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "u",
         "sasl_plain_password": CANARY},
    ),
    "PLAIN on loopback, password in a file": (
        {"protocol": "SASL_PLAINTEXT", "mechanism": "PLAIN", "username": "u", "password_file": "<secret>"},
        {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "u",
         "sasl.password": CANARY},
        {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": "u",
         "sasl_plain_password": CANARY},
    ),
    "a token of a file": (
        {"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "oauth_token_file": "<token>"},
        {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", **VERIFIES},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"},
    ),
    "tokens of an endpoint": (
        {"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "oauth_token_endpoint": "https://idp.example/token",
         "oauth_client_id": "id", "oauth_client_secret": CANARY, "oauth_scope": "kafka"},
        {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", **VERIFIES},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"},
    ),
    "tokens of an endpoint, its secret in a file, over plaintext by consent": (
        {"protocol": "SASL_PLAINTEXT", "mechanism": "OAUTHBEARER", "oauth_token_endpoint": "http://idp.example/token",
         "oauth_client_id": "id", "oauth_client_secret_file": "<secret>", "allow_insecure_credentials": "true"},
        {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER"},
        {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER"},
    ),
}  # fmt: skip


def filled(given: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
    return {
        name: files[value[1:-1]] if isinstance(value, str) and value.startswith("<") else value
        for name, value in given.items()
    }


def from_environment(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in given.items():
        monkeypatch.setenv(f"KEEPSTREAM_KAFKA__SECURITY__{name.upper()}", value)
    return Settings()


def test_every_producer_compresses_as_the_settings_say() -> None:
    """Azure Event Hubs takes gzip only: lz4 would pause every partition that has a dead letter."""
    client = librdkafka_settings(KafkaSettings(compression="gzip"))
    queue = KafkaDeadLetterQueue("d", client, timeout_s=1)
    assert queue._settings["compression.type"] == "gzip"
    for own in (PRODUCER_SETTINGS, REPLAY_SETTINGS):
        assert "compression.type" not in own


@pytest.mark.parametrize("row", TABLE)
def test_both_clients_are_told_the_same(row: str, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    given, librdkafka, aiokafka = TABLE[row]
    settings = from_environment(filled(given, files), monkeypatch)
    told = librdkafka_security(settings.kafka.security)
    assert callable(told.pop("oauth_cb", None)) == (given.get("mechanism") == "OAUTHBEARER")
    assert told == filled(librdkafka, files)
    assert told.items() <= librdkafka_settings(settings.kafka).items()
    arguments = aiokafka_security(settings.kafka.security)
    context = arguments.pop("ssl_context", None)
    provider = arguments.pop("sasl_oauth_token_provider", None)
    assert isinstance(provider, AiokafkaTokens) == (given.get("mechanism") == "OAUTHBEARER")
    assert arguments == aiokafka
    assert (context is not None) == given.get("protocol", "").endswith("SSL")
    if context:
        assert context.check_hostname
        assert context.verify_mode.name == "CERT_REQUIRED"


def test_the_table_above_has_every_setting() -> None:
    set_somewhere = {name for given, _, _ in TABLE.values() for name in given}
    assert set_somewhere == set(KafkaSecuritySettings.model_fields)


@pytest.mark.parametrize("row", TABLE)
def test_a_secret_is_shown_nowhere_and_known_to_the_log(
    row: str, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = from_environment(filled(TABLE[row][0], files), monkeypatch)
    for text in (
        repr(settings),
        str(settings),
        settings.model_dump_json(),
        json.dumps(settings.model_dump(mode="json")),
    ):
        assert CANARY not in text
    if any(value in {CANARY, "<secret>"} for value in TABLE[row][0].values()):
        assert CANARY in set(secrets_of(settings))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mechanism": "PLAIN", "username": "u", "password": CANARY}, "SASL_PLAINTEXT and SASL_SSL need mechanism"),
        ({"protocol": "SASL_SSL"}, "SASL_PLAINTEXT and SASL_SSL need mechanism"),
        ({"protocol": "SASL_SSL", "mechanism": "GSSAPI"}, "mechanism"),
        ({"protocol": "ssl"}, "protocol"),
        ({"ca_file": "<ca>"}, "PLAINTEXT has no TLS"),
        ({"protocol": "SSL", "ca_file": "/no/such/file"}, "ca_file"),
        ({"protocol": "SSL", "key_file": "<key>"}, "without certificate_file"),
        ({"protocol": "SSL", "key_password": CANARY}, "without certificate_file"),
        (SCRAM, "needs username, and password or password_file"),
        ({"protocol": "SASL_SSL", "mechanism": "PLAIN", "password": CANARY}, "needs username"),
        ({**SCRAM, "password": CANARY, "password_file": "<secret>"}, "give password or password_file, not both"),
        ({"protocol": "SSL", "username": "u"}, "SSL does not log in"),
        ({"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER"}, "oauth_token_file, or oauth_token_endpoint"),
        ({"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "oauth_client_id": "i", "oauth_client_secret": CANARY,
          "oauth_token_endpoint": "http://idp.example/t"}, "must be https"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(
    given: dict[str, str], words: str, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError) as caught:
        from_environment(filled(given, files), monkeypatch)
    assert words in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("servers", "goes"),
    [
        ("127.0.0.1:9092", True), ("localhost:9092,127.0.0.2:1", True), ("[::1]:9092", True),
        ("kafka:9092", False), ("127.0.0.1:9092,10.0.0.1:9092", False), ("localhost.example.org:1", False),
        ("[2001:db8::1]:9092", False), ("127.0.0.1.example.org:1", False),
    ],
)  # fmt: skip
def test_credentials_without_tls_stay_on_loopback(servers: str, goes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS", servers)
    plaintext = {**SCRAM, "protocol": "SASL_PLAINTEXT", "password": CANARY}
    if goes:
        from_environment(plaintext, monkeypatch)
        return
    with pytest.raises(ValidationError, match="SASL_PLAINTEXT would send credentials to another machine"):
        from_environment(plaintext, monkeypatch)
    from_environment({"allow_insecure_credentials": "true"}, monkeypatch)


def test_an_encrypted_key_without_its_password_is_an_error_and_no_question(files: dict[str, str]) -> None:
    given = filled({"protocol": "SSL", "certificate_file": "<encrypted cert>", "key_file": "<encrypted key>"}, files)
    with pytest.raises(OSError, match=r"\[SSL\]|bad decrypt|PEM"):
        aiokafka_security(KafkaSecuritySettings(**given))


def test_a_token_file_is_read_again_and_says_when_it_expires(tmp_path: Path) -> None:
    file = tmp_path / "token"
    for lifetime_s in (60, 600):
        file.write_text(unsigned_jwt("worker", lifetime_s) + "\n")
        token, expires_at_s = TokenFile(file).for_librdkafka("")
        assert token == file.read_text().strip()
        assert abs(expires_at_s - time.time() - lifetime_s) < 5
    assert expiry_of("opaque") > time.time()
    file.unlink()
    with pytest.raises(TokenError, match="cannot be read"):
        TokenFile(file).token()


def test_a_secret_is_never_part_of_a_policys_or_settings_repr() -> None:
    security = KafkaSecuritySettings(protocol="SASL_SSL", mechanism="PLAIN", username="u", password=SecretStr(CANARY))
    assert CANARY not in repr(security)
