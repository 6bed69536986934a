"""Why Kafka or PostgreSQL cannot be reached, in a sentence without secrets: drivers say it on the side."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaError

from keepstream.app.config.base import host_of
from keepstream.app.config.kafka import KafkaSecuritySettings
from keepstream.app.config.postgres import PostgresSettings
from keepstream.app.config.settings import KafkaSettings

TIMEOUT_S = 3.0
_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""PostgreSQL's SSLRequest: what a client says before TLS begins; the answer is S or N."""


def kafka_tls_trouble(given: KafkaSecuritySettings, host: str, port: int) -> str | None:
    """Shake hands with a broker as we would; None when nothing is wrong with its certificate."""
    from keepstream.app.connect.client_config import tls_context  # noqa: PLC0415 - for trouble only

    try:
        return handshake_trouble(host, port, tls_context(given))
    except OSError as error:
        return f"our own certificates cannot be loaded: {_reason(error)}"


def postgres_tls_trouble(host: str, port: int, root_file: str | None) -> str | None:
    """Shake hands with a server as libpq would under ``verify-full``."""
    usual = str(Path.home() / ".postgresql" / "root.crt")
    try:
        context = ssl.create_default_context(cafile=None if root_file == "system" else root_file or usual)
    except OSError as error:
        return f"sslrootcert cannot be loaded: {_reason(error)}"
    return handshake_trouble(host, port, context, _ask_for_tls)


def handshake_trouble(
    host: str, port: int, context: ssl.SSLContext, greet: Callable[[socket.socket], None] | None = None
) -> str | None:
    """Return what is wrong with the server's certificate, or with its TLS; None when it is fine or nobody answers."""
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as plain:
            if greet:
                greet(plain)
            with context.wrap_socket(plain, server_hostname=host):
                return None
    except ssl.SSLCertVerificationError as error:
        return f"the server's certificate is refused: {error.verify_message}"
    except ssl.SSLError as error:
        return f"the server does not speak TLS with us: {_reason(error)}"
    except OSError:
        return None


def listens(host: str, port: int) -> bool:
    """Whether a connection can be made at all."""
    try:
        with socket.create_connection((host, port), TIMEOUT_S):
            return True
    except OSError:
        return False


def _ask_for_tls(plain: socket.socket) -> None:
    plain.sendall(_SSL_REQUEST)
    if plain.recv(1) != b"S":
        raise ssl.SSLError(0, "it has TLS switched off")


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or error).lower().replace("_", " ")


NO_BROKER, NO_SERVER = "no broker answers", "no server answers"
_POSTGRES = (
    ("password authentication failed", "the password was refused"),
    ("no password supplied", "it wants a password, and there is none"),
    ("no pg_hba.conf entry", "pg_hba.conf lets no such user in from here, or not without TLS"),
    ("certificate authentication failed", "our certificate was refused"),
    ("requires a valid client certificate", "it wants a client certificate: sslcert and sslkey in the URL"),
    ("certificate required", "it wants a client certificate: sslcert and sslkey in the URL"),
    ("unknown ca", "our certificate was refused: the server does not know who signed it"),
    ("does not support SSL", "it has TLS switched off"),
    ("does not match host name", "its certificate is for another host name"),
    ("root certificate file", "sslrootcert is missing or cannot be read"),
    ("certificate file", "sslcert or sslkey is missing, cannot be read, or lets others read it"),
    ("private key file", "sslcert or sslkey is missing, cannot be read, or lets others read it"),
    ("is not permitted to log in", "the role may not log in"),
    ("too many connections", "all its connections are taken"),
    ("starting up", "it is starting up"),
)
"""What libpq's text has in it -> what it means. The first that fits."""


class LastKafkaError:
    """librdkafka's ``error_cb``: keeps the last thing it said, for whoever got no answer in time."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._last: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        from confluent_kafka import KafkaError  # noqa: PLC0415 - --help answers without it

        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - librdkafka's local codes have no other name
            self._last = error

    def why(self) -> str:
        """Say what is wrong; may ask a broker for its certificate."""
        from confluent_kafka import KafkaError  # noqa: PLC0415

        from keepstream.app.connect.oauth import token_trouble  # noqa: PLC0415

        security = self._settings.security
        code = self._last.code() if self._last else None
        if trouble := token_trouble(security):
            return trouble
        if code == KafkaError._AUTHENTICATION:  # noqa: SLF001
            return f"the brokers refuse the login ({security.mechanism}): is the user right, is the password?"
        if code == KafkaError._SSL:  # noqa: SLF001
            return self._certificate_trouble() or "TLS failed: does the listener speak it, and take our certificate?"
        if code == KafkaError._RESOLVE:  # noqa: SLF001
            return "its host name is unknown"
        if self._last and "security.protocol" in self._last.str():
            return f"the broker hangs up: its listener does not speak {security.protocol}, or wants our certificate"
        # librdkafka does not complain of every certificate, for example of one for another host.
        return (self._certificate_trouble() if security.tls else None) or self._silence()

    def _certificate_trouble(self) -> str | None:

        return kafka_tls_trouble(self._settings.security, *self._first_server())

    def _silence(self) -> str:

        if not listens(*self._first_server()):
            return NO_BROKER
        protocol = self._settings.security.protocol
        return f"who listens there gives no answer; perhaps it does not speak {protocol}, or wants our certificate"

    def _first_server(self) -> tuple[str, int]:
        server = self._settings.bootstrap_servers.split(",")[0].strip()
        return host_of(server), int(server.rpartition(":")[2] or 9092)


def postgres_refusal(text: str, settings: PostgresSettings) -> str:
    """Translate the text of a failed connection. libpq's own text is not quoted: it may hold parts of the URL."""
    from keepstream.app.config.postgres import effective, hosts  # noqa: PLC0415

    if "certificate verify failed" in text:
        given = effective(settings.url.get_secret_value())
        port = int((given.get("port") or "5432").split(",")[0])
        trouble = postgres_tls_trouble(hosts(given)[0], port, given.get("sslrootcert"))
        return trouble or "its certificate is refused"
    if "database" in text and "does not exist" in text:
        return "there is no such database"
    return next((meaning for needle, meaning in _POSTGRES if needle in text), NO_SERVER)
