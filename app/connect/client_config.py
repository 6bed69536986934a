"""librdkafka's settings, from ours. One place, so that every command connects alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keepstream.app.connect.kafka_security import librdkafka_security

if TYPE_CHECKING:
    from keepstream.app.config.settings import KafkaSettings


def librdkafka_settings(settings: KafkaSettings) -> dict[str, Any]:
    """Return what any confluent-kafka client of this project needs to connect."""
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "keepstream",
        "socket.timeout.ms": int(settings.request_timeout_s * 1000),
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 2000,
        "allow.auto.create.topics": False,
        **librdkafka_security(settings.security),
    }
