"""Connections: an attack with half a request before any login, and the end while no server answers."""

from __future__ import annotations

import resource
import signal
import socket
import time
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


def test_it_ends_within_seconds_while_neither_server_answers() -> None:
    """Servers that take a connection and say nothing: pages and polls wait for their timeouts."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = f"127.0.0.1:{silent.getsockname()[1]}"
        servers = {"KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": at, "KEEPSTREAM_POSTGRES__URL": f"postgresql://{at}/x"}
        with console({**servers, **WITH_LOGIN}) as running:
            time.sleep(1)  # the first poll waits
            running.process.send_signal(signal.SIGTERM)
            asked_at = time.monotonic()
            assert running.process.wait(30) == 0
    assert time.monotonic() - asked_at < 8  # Docker's default grace is 10 s
