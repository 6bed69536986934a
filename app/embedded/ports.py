"""Free loopback ports."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"
# Below Linux' default range for outgoing connections: no client socket takes a port of ours while
# its server is down for a restart.
_LOW, _HIGH = 15_000, 32_000
_TRIES = 50


def free_port() -> int:
    """Find a port nobody listens on right now; the kernel's choice when our own range is crowded."""
    candidates = random.SystemRandom().sample(range(_LOW, _HIGH), _TRIES)
    return next((port for port in candidates if _bindable(port)), 0) or _kernel_choice()


def listens(port: int) -> bool:
    """Whether something accepts connections on the loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=0.5).close()
    except OSError:
        return False
    return True


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _kernel_choice() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
