"""A TCP proxy that a test can make ill: silent, slow, half-open, or cut right after a message that matters."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from keepstream.app.embedded.service import LOOPBACK, free_port

CHUNK_BYTES = 64 * 1024
SLICES_PER_S = 10


@dataclass(slots=True, eq=False)
class Link:
    """One client connection and its way to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    half_open: bool = False
    """The server side is gone and nobody tells the client."""
    cut_at_reply: bool = False

    def reset(self) -> None:
        """Send RST both ways, as a rebooted peer does."""
        for writer in (self.client, self.server):
            with suppress(OSError):
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()


class Proxy:
    """Forwards a loopback port to another, on an event loop in a thread of its own.

    A black hole is a peer that answers nothing: connections stay, bytes are taken (up to the buffers) and go nowhere.
    The kernel still acknowledges them, as it does for a frozen process, so TCP's own timers never fire.
    """

    def __init__(self, server_port: int) -> None:
        self.port = free_port()
        self.cuts = 0
        self.bytes_per_s: float | None = None
        self._server_port = server_port
        self._links: set[Link] = set()
        self._cut_pattern: bytes | None = None
        self._open: asyncio.Event
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def connections(self) -> int:
        return len(self._links)

    def black_hole(self) -> None:
        """From now on nothing passes; old and new connections just hang."""
        self._do(self._open.clear)

    def half_open(self) -> None:
        """Drop the server side of every connection there is, silently; new ones pass."""

        def drop() -> None:
            for link in self._links:
                link.half_open = True
                link.server.transport.abort()

        self._do(drop)

    def reset(self) -> None:
        """Cut every connection there is with RST; new ones pass."""

        def reset() -> None:
            for link in list(self._links):
                link.reset()

        self._do(reset)

    def cut_after(self, pattern: bytes) -> None:
        """Forward the next message that holds these bytes, wait for the server's answer, throw it away and cut."""
        self._do(lambda: setattr(self, "_cut_pattern", pattern))

    def heal(self) -> None:
        """Pass everything again. What a black hole swallowed arrives late, as TCP's retransmissions do."""

        def heal() -> None:
            self.bytes_per_s = None
            self._cut_pattern = None
            self._open.set()
            for link in [link for link in self._links if link.half_open]:
                link.reset()

        self._do(heal)

    def _do(self, action: Callable[[], object]) -> None:
        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._loop).result(5)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        self._listener.close()
        for link in list(self._links):
            link.reset()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.sleep(0)

    async def _listen(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._listener = await asyncio.start_server(self._accept, LOOPBACK, self.port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError):
            await self._open.wait()
            try:
                answers, server = await asyncio.open_connection(LOOPBACK, self._server_port)
            except OSError:
                writer.transport.abort()
                return
            link = Link(writer, server)
            self._links.add(link)
            await self._both(link, self._requests(link, reader), self._answers(link, answers))

    async def _both(self, link: Link, *pumps: Coroutine[None, None, None]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for pump in pumps:
                    group.create_task(pump)
        except* OSError:
            pass
        finally:
            self._links.discard(link)
            link.client.transport.abort()
            link.server.transport.abort()

    async def _requests(self, link: Link, reader: asyncio.StreamReader) -> None:
        tail = b""
        while data := await reader.read(CHUNK_BYTES):
            if link.half_open:
                continue
            if (pattern := self._cut_pattern) and pattern in tail + data:
                self._cut_pattern = None
                link.cut_at_reply = True
            tail = data[-64:]
            await self._forward(link.server, data)
        raise ConnectionResetError

    async def _answers(self, link: Link, reader: asyncio.StreamReader) -> None:
        while data := await self._read_unless_half_open(link, reader):
            if link.cut_at_reply:
                self.cuts += 1
                link.reset()
                return
            await self._forward(link.client, data)
        if link.half_open:
            await asyncio.Event().wait()
        raise ConnectionResetError

    async def _read_unless_half_open(self, link: Link, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.read(CHUNK_BYTES)
        except OSError:
            if link.half_open:
                return b""
            raise

    async def _forward(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        while data:
            await self._open.wait()
            rate = self.bytes_per_s
            size = len(data) if rate is None else max(1, int(rate / SLICES_PER_S))
            part, data = data[:size], data[size:]
            if rate is not None:
                await asyncio.sleep(len(part) / rate)
                await self._open.wait()
            writer.write(part)
            await writer.drain()
