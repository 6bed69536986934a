"""Limits on connections to the console, so that no client without a login can use them up or fill the log."""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

HEAD_TIMEOUT_S, KEEPALIVE_TIMEOUT_S, BODY_TIMEOUT_S = 10.0, 15.0, 10.0
"""How long the head of a request may take, a connection may wait for the next request, and a form may take."""
MAX_HEAD_BYTES = 64 * 1024
MAX_CONNECTIONS, BACKLOG = 512, 16
LOG_INTERVAL_S = 60.0
"""The same line of a library is written once in this time."""
_HEAD_ENDS = (b"\r\n\r\n", b"\n\n")


def connection_limit() -> int:
    """Return how many connections are accepted: half the file descriptors, the rest is for Kafka and PostgreSQL."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MAX_CONNECTIONS, descriptors // 2) if descriptors != resource.RLIM_INFINITY else MAX_CONNECTIONS


class ConnectionLimiter:
    """Passes connections to aiohttp once the head of their first request is complete.

    At the limit, a new connection closes the oldest one without a complete head, and is refused when there is none.
    ``per_address``: limit of one address, 0 for none.
    """

    def __init__(
        self, server: web.Server, limit: int, per_address: int, head_timeout_s: float = HEAD_TIMEOUT_S
    ) -> None:
        self._server = server
        self._limit, self._per_address = limit, per_address
        self.head_timeout_s = head_timeout_s
        self._waiting: dict[IncompleteRequest, str] = {}

    def __call__(self) -> IncompleteRequest:
        """Return the protocol of a new connection."""
        return IncompleteRequest(self)

    def admit(self, connection: IncompleteRequest, address: str) -> bool:
        """Count a new connection. Return False when it has to be closed."""
        passed = [_address(protocol.peername) for protocol in self._server.connections]
        alike = [other for other, its in self._waiting.items() if its == address]
        if self._per_address and len(alike) + passed.count(address) >= self._per_address:
            admitted = self._close_first(alike)
        elif len(self._waiting) + len(passed) >= self._limit:
            admitted = self._close_first([*self._waiting])
        else:
            admitted = True
        if admitted:
            self._waiting[connection] = address
        return admitted

    def forget(self, connection: IncompleteRequest) -> None:
        self._waiting.pop(connection, None)

    def protocol(self) -> asyncio.Protocol:
        """Return aiohttp's protocol, for a connection whose first head is complete."""
        return self._server()

    def close(self) -> None:
        """Close the connections without a complete head."""
        for connection in [*self._waiting]:
            connection.close()

    def _close_first(self, connections: list[IncompleteRequest]) -> bool:
        if not connections:
            return False
        connections[0].close()
        return True


class IncompleteRequest(asyncio.Protocol):
    """A connection until the head of its first request is complete."""

    def __init__(self, limiter: ConnectionLimiter) -> None:
        self._limiter = limiter
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a TCP server
        self._transport = transport
        if not self._limiter.admit(self, _address(transport.get_extra_info("peername"))):
            transport.abort()
            return
        self._deadline = asyncio.get_running_loop().call_later(self._limiter.head_timeout_s, self.close)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) >= MAX_HEAD_BYTES or any(end in self._received for end in _HEAD_ENDS):
            self._pass_on()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - of asyncio.Protocol
        self._end()

    def close(self) -> None:
        self._end()
        if self._transport:
            self._transport.abort()

    def _pass_on(self) -> None:
        self._end()
        if self._transport is None or self._transport.is_closing():
            return
        protocol = self._limiter.protocol()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(bytes(self._received))

    def _end(self) -> None:
        self._limiter.forget(self)
        if self._deadline:
            self._deadline.cancel()


class RepeatedLines(logging.Filter):
    """Drops a line that was logged within ``interval_s``, and says later how many there were."""

    def __init__(self, interval_s: float = LOG_INTERVAL_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._interval_s, self._clock = interval_s, clock
        self._seen: dict[Any, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the line. Its template decides, not its arguments."""
        now, template = self._clock(), str(record.msg)[:40]
        since, dropped = self._seen.get(template, (-self._interval_s, 0))
        if now - since < self._interval_s:
            self._seen[template] = (since, dropped + 1)
            return False
        self._seen[template] = (now, 0)
        if dropped:
            record.msg = f"{record.msg} (and {dropped} more of these)"
        return True


def limit_library_logs() -> None:
    """Write each kind of line of the HTTP libraries once a minute: strangers cause them, before any login."""
    for name in ("asyncio", "aiohttp.server"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, RepeatedLines) for known in logger.filters):
            logger.addFilter(RepeatedLines())


def _address(peername: object) -> str:
    return str(peername[0]) if isinstance(peername, tuple) and peername else ""
