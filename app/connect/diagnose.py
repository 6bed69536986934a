"""Explains why Kafka or PostgreSQL cannot be reached, without secrets: the drivers report it only in part."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from confluent_kafka import KafkaError

from keepstream.app.config.base import host_of, port_of
from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.config.postgres import PostgresSettings, effective, servers
from keepstream.app.connect.client_config import tls_context
from keepstream.app.connect.oauth import diagnose_token

TIMEOUT_S, CONNECT_TIMEOUT_S = 3.0, 1.0
_AT_ONCE = 16
SEE_ADVERTISED = "advertised.listeners of a broker has to name an address that is reachable from here"
_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""PostgreSQL's SSLRequest message, sent before TLS starts; the answer is S or N."""


def diagnose_postgres_tls(host: str, port: int, root_file: str | None) -> str | None:
    """Try a TLS handshake with a server as libpq does with ``verify-full``; return the error."""
    usual = str(Path.home() / ".postgresql" / "root.crt")
    try:
        context = ssl.create_default_context(cafile=None if root_file == "system" else root_file or usual)
    except OSError as error:
        return f"sslrootcert cannot be loaded: {_reason(error)}"
    return diagnose_handshake(host, port, context, _ask_for_tls)


def diagnose_handshake(
    host: str, port: int, context: ssl.SSLContext, greet: Callable[[socket.socket], None] | None = None
) -> str | None:
    """Return the error of certificate or TLS; None when the handshake succeeds or no server answers."""
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as plain:
            if greet:
                greet(plain)
            with context.wrap_socket(plain, server_hostname=host):
                return None
    except ssl.SSLCertVerificationError as error:
        return f"the server's certificate is refused: {error.verify_message}"
    except ssl.SSLError as error:
        return f"the TLS handshake with the server failed: {_reason(error)}"
    except OSError:
        return None


def listens(host: str, port: int) -> bool:
    """Whether a server accepts connections."""
    with suppress(OSError), socket.create_connection((host, port), CONNECT_TIMEOUT_S):
        return True
    return False


def silent_brokers(brokers: Mapping[int, tuple[str, int]]) -> list[str]:
    """Return a sentence per broker that accepts no connection at the address that it advertises."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="diagnose") as pool:
        answers = pool.map(lambda address: listens(*address), brokers.values())
    return [
        f"broker {number} does not answer at {host}:{port}, which it advertises"
        for (number, (host, port)), answered in zip(brokers.items(), answers, strict=True)
        if not answered
    ]


def _ask_for_tls(plain: socket.socket) -> None:
    plain.sendall(_SSL_REQUEST)
    if plain.recv(1) != b"S":
        raise ssl.SSLError(0, "TLS is switched off on the server")


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or error).lower().replace("_", " ")


NO_BROKER, NO_SERVER = "no broker answers", "no server answers"
_SEE_URL, _SEE_LIMITS = "check KEEPSTREAM_POSTGRES__URL", "end idle sessions, or raise max_connections"
_SEE_POOLER = "see the pooler's log and settings"
_REFUSED_PARAMETER = re.compile(r"unsupported startup parameter(?: in options)?: ['\"]?([a-z_]+)")
_CLIENT_CERTIFICATE = "a client certificate is required: sslcert and sslkey in the URL"
_WAIT = "wait for it, or name another server in KEEPSTREAM_POSTGRES__URL"
_POSTGRES = (
    ("password authentication failed", "the password was refused, or there is no such role", _SEE_URL),
    ("no password supplied", "no password supplied", _SEE_URL),
    ("no pg_hba.conf entry", "pg_hba.conf has no entry for this user, host, database and TLS mode", _SEE_URL),
    ("certificate authentication failed", "the client certificate was refused", _SEE_URL),
    ("requires a valid client certificate", _CLIENT_CERTIFICATE, _SEE_URL),
    ("certificate required", _CLIENT_CERTIFICATE, _SEE_URL),
    ("unknown ca", "the client certificate was refused: its issuer is unknown to the server", _SEE_URL),
    ("authentication failed", "the login was refused: pg_hba.conf says how this role logs in", _SEE_URL),
    ("no more connections allowed", "the pooler there has all the clients that it may have", _SEE_POOLER),
    ("query_wait_timeout", "the pooler there had no connection to PostgreSQL free in time", _SEE_POOLER),
    ("cannot connect to server", "the pooler there answers, and its PostgreSQL does not", _SEE_POOLER),
    ("server login failed", "the pooler there cannot log in to its PostgreSQL", _SEE_POOLER),
    ("no such database", "there is no such database", _SEE_URL),
    ("no such user", "there is no such role", _SEE_URL),
    ("does not support SSL", "TLS is switched off on the server", _SEE_URL),
    ("does not match host name", "its certificate is for another host name", _SEE_URL),
    ("root certificate file", "sslrootcert is missing or cannot be read", _SEE_URL),
    ("certificate file", "sslcert or sslkey is missing, cannot be read, or lets others read it", _SEE_URL),
    ("private key file", "sslcert or sslkey is missing, cannot be read, or lets others read it", _SEE_URL),
    ("is not permitted to log in", "the role may not log in", "ALTER ROLE ... LOGIN, or name another role in the URL"),
    ("permission denied for database", "the role may not connect to the database", "GRANT CONNECT ON DATABASE"),
    ("too many connections for role", "the role has all the connections that it may have", _SEE_LIMITS),
    ("too many connections for database", "the database has all the connections that it may have", _SEE_LIMITS),
    ("too many connections", "all connections of the server are in use", _SEE_LIMITS),
    ("too many clients", "all connections of the server are in use", _SEE_LIMITS),
    ("connection slots are reserved", "all connections of the server are in use but those for superusers", _SEE_LIMITS),
    ("starting up", "the server is starting up", _WAIT),
    ("shutting down", "the server is shutting down", _WAIT),
    ("in recovery mode", "the server is recovering from a crash", _WAIT),
    ("not yet accepting connections", "the server is in recovery, and not far enough to be read", _WAIT),
    ("not currently accepting connections", "the database allows no connections", "ALTER DATABASE, or name another"),
    ("not accepting connections", "the server is in recovery, and accepts no connections (hot_standby is off)", _WAIT),
    ("terminating connection", "the server ended the connection", _WAIT),
    ("closed the connection unexpectedly", "the server ended the connection", _WAIT),
    ("session is read-only", "the server is a read-only standby, and the URL asks for another", _SEE_URL),
    ("failed to resolve host", "its host name is unknown", _SEE_URL),
    ("could not translate host name", "its host name is unknown", _SEE_URL),
)  # fmt: skip
"""Part of libpq's text -> explanation, and what to do. The first match is taken."""


_OF_A_BROKER = re.compile(r"(?:\w+://)?\[?([^\s/\]]+)\]?:(\d+)/(\d+): ")
"""How librdkafka's text about an advertised address begins: ``ssl://host:port/id``. Others have ``/bootstrap``."""


class LastKafkaError:
    """Callback for librdkafka's ``error_cb``: keeps the last error, to explain a timeout.

    ``advertised`` are the addresses that errors were about, by the broker's id. A client that has learnt them gives the
    bootstrap server up, and then no request returns them.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self.advertised: dict[int, tuple[str, int]] = {}
        self._settings = settings
        self._last: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        if of_a_broker := _OF_A_BROKER.match(error.str()):
            host, port, number = of_a_broker.groups()
            self.advertised[int(number)] = host, int(port)
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - librdkafka's local codes have no other name
            self._last = error

    def explain(self) -> str:
        """Return the explanation of the last error; may connect to a broker to check its certificate."""
        security = self._settings.security
        code = self._last.code() if self._last else None
        if token_error := diagnose_token(security):
            return token_error
        if code == KafkaError._AUTHENTICATION:  # noqa: SLF001
            return f"the brokers refuse the login ({security.mechanism}): check user and password"
        if code == KafkaError._SSL:  # noqa: SLF001
            no_reason = "TLS failed: check that the listener uses TLS and accepts the client certificate"
            return self._certificate_error() or no_reason
        if code == KafkaError._RESOLVE:  # noqa: SLF001
            return "its host name is unknown"
        if self._last and "security.protocol" in self._last.str():
            return f"the broker closes the connection: {self._mismatch()}"
        # librdkafka does not report every certificate error, for example a wrong host name.
        return (self._certificate_error() if security.tls else None) or self._silence()

    def _certificate_error(self) -> str | None:
        try:
            return diagnose_handshake(*self._first_server(), tls_context(self._settings.security))
        except OSError as error:
            return f"our own certificates cannot be loaded: {_reason(error)}"

    def _silence(self) -> str:
        if not listens(*self._first_server()):
            return NO_BROKER
        return f"the server there does not answer: perhaps {self._mismatch()}"

    def _mismatch(self) -> str:
        return f"it does not use {self._settings.security.protocol}, or requires a client certificate"

    def _first_server(self) -> tuple[str, int]:
        server = self._settings.bootstrap_servers.split(",")[0].strip()
        return host_of(server), port_of(server)


def explain_postgres_error(text: str, settings: PostgresSettings) -> tuple[str, str]:
    """Explain a failed connection, and say what to do. libpq's text is not quoted: it may contain parts of the URL."""
    if "certificate verify failed" in text:
        given = effective(settings.url.get_secret_value())
        tls_error = diagnose_postgres_tls(*servers(given)[0], given.get("sslrootcert"))
        return tls_error or "its certificate is refused", _SEE_URL
    if parameter := _REFUSED_PARAMETER.search(text):
        what = f"the pooler there refuses the startup parameter {parameter[1]}"
        return what, (
            "take it out of the URL and of the PG* variables (KEEPSTREAM_POSTGRES__SCHEMA_NAME names the schema), or "
            "list it in PgBouncer's ignore_startup_parameters"
        )
    for what in ("database", "role"):
        if re.search(rf'{what} ".*" does not exist', text):
            return f"there is no such {what}", _SEE_URL
    found = ((meaning, hint) for part, meaning, hint in _POSTGRES if part in text)
    return next(found, (NO_SERVER, _SEE_URL))
