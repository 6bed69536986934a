"""An attack with connections that send half a request, before any login."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.acceptance.console import WITH_LOGIN, console

NO_SERVERS = {
    "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "KEEPSTREAM_POSTGRES__URL": "postgresql://127.0.0.1:1/x",
}


@contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    """Limit the file descriptors of programs that are started."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_half_open_connections_keep_no_page_away_and_fill_no_log() -> None:
    with ExitStack() as opened:
        with few_descriptors(256):
            running = opened.enter_context(console({**NO_SERVERS, **WITH_LOGIN}))
        host, _, port = running.host.rpartition(":")
        for _ in range(300):
            half_open = opened.enter_context(socket.create_connection((host, int(port)), 30))
            half_open.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert [running.get("/login").status for _ in range(20)] == [200] * 20
        assert sum(map(len, running.said)) < 50_000
