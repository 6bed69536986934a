"""The proxy itself: a fault that does not happen proves nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from keepstream.app.embedded.service import LOOPBACK
from tests.faults.proxy import Proxy


@pytest.fixture
def echo() -> Iterator[Proxy]:
    """A proxy before a server that answers each chunk with itself."""
    listener = socket.create_server((LOOPBACK, 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=[peer], daemon=True).start()

    def answer(peer: socket.socket) -> None:
        with peer:
            try:
                while data := peer.recv(65536):
                    peer.sendall(data)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    with Proxy(listener.getsockname()[1]) as proxy:
        yield proxy
    listener.close()


def connect(proxy: Proxy) -> socket.socket:
    client = socket.create_connection((LOOPBACK, proxy.port), timeout=2)
    client.sendall(b"hello")
    assert client.recv(100) == b"hello"
    return client


def test_a_black_hole_answers_nothing_and_healing_delivers_late(echo: Proxy) -> None:
    with connect(echo) as client:
        echo.black_hole()
        client.settimeout(0.3)
        client.sendall(b"lost?")
        with pytest.raises(TimeoutError):
            client.recv(100)
        echo.heal()
        client.settimeout(2)
        assert client.recv(100) == b"lost?"


def test_a_half_open_connection_hangs_while_new_ones_pass(echo: Proxy) -> None:
    with connect(echo) as client:
        echo.half_open()
        client.settimeout(0.3)
        client.sendall(b"anybody?")
        with pytest.raises(TimeoutError):
            client.recv(100)
        connect(echo).close()
        echo.heal()
        client.settimeout(2)
        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_a_reset_is_seen_at_once(echo: Proxy) -> None:
    with connect(echo) as client:
        echo.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_a_slow_link_takes_its_time(echo: Proxy) -> None:
    with connect(echo) as client:
        echo.bytes_per_s = 10_000
        started = time.monotonic()
        client.sendall(b"x" * 5000)
        received = 0
        while received < 5000:
            received += len(client.recv(65536))
        assert time.monotonic() - started > 0.4


def test_a_cut_comes_after_the_servers_answer_and_before_the_clients(echo: Proxy) -> None:
    with connect(echo) as client:
        echo.cut_after(b"COMMIT")
        client.sendall(b"COMMIT")
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    assert echo.cuts == 1
