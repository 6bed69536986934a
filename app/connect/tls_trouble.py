"""Why a TLS server is not trusted, in OpenSSL's words: librdkafka and libpq say only that verification failed."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstream.app.config.kafka import KafkaSecuritySettings

TIMEOUT_S = 3.0
_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""PostgreSQL's SSLRequest: what a client says before TLS begins; the answer is S or N."""


def kafka_tls_trouble(given: KafkaSecuritySettings, host: str, port: int) -> str | None:
    """Shake hands with a broker as we would; None when nothing is wrong with its certificate."""
    from keepstream.app.connect.kafka_security import tls_context  # noqa: PLC0415 - for trouble only

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
