"""Client configuration for librdkafka and aiokafka, from the settings."""

from __future__ import annotations

import ssl
from typing import Any

from keepstream.app.config.base import secret
from keepstream.app.config.kafka import KafkaSecuritySettings, KafkaSettings
from keepstream.app.connect.oauth import AiokafkaTokens, token_source


def librdkafka_security(given: KafkaSecuritySettings) -> dict[str, Any]:
    """Return confluent-kafka's settings. Raises OSError when a secret's file cannot be read."""
    key = given.key_file or given.certificate_file
    settings: dict[str, Any] = {
        "security.protocol": given.protocol,
        "ssl.ca.location": given.ca_file and str(given.ca_file),
        "ssl.certificate.location": given.certificate_file and str(given.certificate_file),
        "ssl.key.location": key and str(key),
        "ssl.key.password": secret(given.key_password, given.key_password_file),
        "sasl.mechanism": given.mechanism,
        "sasl.username": given.username,
        "sasl.password": secret(given.password, given.password_file),
    }
    if given.tls:
        # librdkafka's defaults, written down: without verification a certificate protects nothing.
        settings |= {"enable.ssl.certificate.verification": True, "ssl.endpoint.identification.algorithm": "https"}
    if given.mechanism == "OAUTHBEARER":
        settings["oauth_cb"] = token_source(given).for_librdkafka
    return {name: value for name, value in settings.items() if value is not None}


def aiokafka_security(given: KafkaSecuritySettings) -> dict[str, Any]:
    """Return aiokafka's arguments. Raises OSError (ssl.SSLError) for a file that cannot be loaded."""
    arguments: dict[str, Any] = {"security_protocol": given.protocol}
    if given.tls:
        arguments["ssl_context"] = tls_context(given)
    if given.mechanism:
        arguments["sasl_mechanism"] = given.mechanism
    if given.mechanism == "OAUTHBEARER":
        arguments["sasl_oauth_token_provider"] = AiokafkaTokens(token_source(given))
    elif given.mechanism:
        password = secret(given.password, given.password_file)
        arguments |= {"sasl_plain_username": given.username, "sasl_plain_password": password}
    return arguments


def tls_context(given: KafkaSecuritySettings) -> ssl.SSLContext:
    """Return a context that verifies certificate and host name."""
    context = ssl.create_default_context(cafile=given.ca_file)
    if given.certificate_file:
        # Without a password OpenSSL would ask for one on the terminal; an empty one is an error instead.
        password = secret(given.key_password, given.key_password_file) or ""
        context.load_cert_chain(given.certificate_file, given.key_file, password)
    return context


def librdkafka_settings(settings: KafkaSettings) -> dict[str, Any]:
    """Return the configuration that every confluent-kafka client needs to connect, and a producer to be understood."""
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "keepstream",
        "socket.timeout.ms": int(settings.request_timeout_s * 1000),
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 2000,
        "allow.auto.create.topics": False,
        "compression.type": settings.compression,
        **librdkafka_security(settings.security),
    }
