"""Why Kafka or PostgreSQL cannot be reached, in a sentence without secrets: drivers say it on the side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepstream.app.config.loopback import host_of

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

    from keepstream.app.config.postgres import PostgresSettings
    from keepstream.app.config.settings import KafkaSettings

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


class Complaints:
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
        from keepstream.app.connect.tls_trouble import kafka_tls_trouble  # noqa: PLC0415

        return kafka_tls_trouble(self._settings.security, *self._first_server())

    def _silence(self) -> str:
        from keepstream.app.connect.tls_trouble import listens  # noqa: PLC0415

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
    from keepstream.app.connect.tls_trouble import postgres_tls_trouble  # noqa: PLC0415

    if "certificate verify failed" in text:
        given = effective(settings.url.get_secret_value())
        port = int((given.get("port") or "5432").split(",")[0])
        trouble = postgres_tls_trouble(hosts(given)[0], port, given.get("sslrootcert"))
        return trouble or "its certificate is refused"
    if "database" in text and "does not exist" in text:
        return "there is no such database"
    return next((meaning for needle, meaning in _POSTGRES if needle in text), NO_SERVER)
