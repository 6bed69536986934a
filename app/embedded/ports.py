"""Free loopback ports."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

LOOPBACK = "127.0.0.1"
# Below Linux' default range for outgoing connections: no client socket takes the port of a server that restarts.
_LOW, _HIGH = 15_000, 32_000
_TRIES = 50


def free_port() -> int:
    """Return a port without a listener."""
    return next(port for port in random.SystemRandom().sample(range(_LOW, _HIGH), _TRIES) if _bindable(port))


def listens(port: int) -> bool:
    """Whether a server accepts connections on the loopback port."""
    with suppress(OSError):
        socket.create_connection((LOOPBACK, port), timeout=0.5).close()
        return True
    return False


def _bindable(port: int) -> bool:
    with suppress(OSError):
        socket.create_server((LOOPBACK, port)).close()
        return True
    return False
