"""``keepstream health``: the health check of a container, whatever command and settings it runs with."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import click

from keepstream.app.cli.output import load_settings
from keepstream.app.errors import KeepstreamError

ANSWER_TIMEOUT_S = 4.0
PROC = Path("/proc")
PROGRAMS = {b"keepstream", b"keepstream.app"}
"""``bin/keepstream``, ``python -m keepstream.app``."""


@click.command(epilog="Example: docker exec CONTAINER keepstream health")
def health() -> None:
    """Ask the worker or console of this container whether it is alive (/livez); exit 1 when it is not.

    It asks each address on which a keepstream process of this PID namespace listens (Linux), so options and --workers
    need not be repeated. With KEEPSTREAM_HTTP__ENABLED=false, and for other commands, it is enough that one runs.
    """
    if not PROC.is_dir():
        hint = "ask its port: curl http://127.0.0.1:9108/livez"
        raise KeepstreamError("not_supported", f"{PROC} is not here: this command works in Linux containers", hint)
    processes = {path.parent: words for path in PROC.glob("[0-9]*/cmdline") if (words := _words(path)) & PROGRAMS}
    if not processes:
        raise KeepstreamError("not_running", "no process of keepstream is running here")
    addresses = list(listening_addresses(processes))
    serves = any(words & {b"worker", b"web"} for words in processes.values())
    if serves and not addresses and load_settings().http.enabled:
        raise KeepstreamError("not_alive", "it does not listen yet")
    for host, port in addresses:
        try:
            with closing(HTTPConnection(host, port, timeout=ANSWER_TIMEOUT_S)) as connection:
                connection.request("GET", "/livez")
                response = connection.getresponse()
                ok, answer = response.status < 300, response.read().decode(errors="replace").strip()  # noqa: PLR2004
        except (OSError, HTTPException) as error:
            ok, answer = False, f"no answer: {error}"
        if not ok:
            raise KeepstreamError("not_alive", f"{host}:{port}: {answer}")
        click.echo(f"{host}:{port}: {answer}")


def _words(cmdline: Path) -> set[bytes]:
    """Return the words of a command line, those of a path without its folders; none of this very process."""
    with suppress(OSError):  # it has just ended
        if cmdline.parent.name != str(os.getpid()):
            return {word.rpartition(b"/")[2] for word in cmdline.read_bytes().split(b"\0")}
    return set()


def listening_addresses(processes: Iterable[Path]) -> Iterator[tuple[str, int]]:
    """Yield host and port of each TCP socket on which one of the processes listens; proc(5) has the format."""
    sockets = {*_open_files(processes)}
    for table in PROC.glob("net/tcp*"):
        for line in table.read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and f"socket:[{columns[9]}]" in sockets:  # TCP_LISTEN
                yield _address(columns[1])


def _open_files(processes: Iterable[Path]) -> Iterator[str]:
    for process in processes:
        with suppress(OSError):  # it has just ended
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):  # it was just closed
                    yield str(descriptor.readlink())


def _address(text: str) -> tuple[str, int]:
    """Parse ``0100007F:2394``: 32-bit words in the machine's byte order. An unspecified address becomes loopback."""
    words, port = text.split(":")
    packed = b"".join(int(words[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(words), 8))
    host = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)  # noqa: PLR2004
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port, 16)  # noqa: S104 - it is asked
